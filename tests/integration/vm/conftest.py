from __future__ import annotations

import pytest

from tests.support.lean_environment import lean_environ


@pytest.fixture(autouse=True)
def lean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have drivers send bigmachine and numpy only, not all that is installed for tests."""
    for name, value in lean_environ("numpy").items():
        monkeypatch.setenv(name, value)
