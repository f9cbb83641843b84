from __future__ import annotations

import pytest

from tests.support.gcp.fixtures import boxed_gce as boxed_gce
from tests.support.gcp.fixtures import consistent as consistent
from tests.support.gcp.fixtures import gce as gce
from tests.support.gcp.fixtures import gce_box as gce_box
from tests.support.gcp.fixtures import run as run
from tests.support.gcp.fixtures import served_gce as served_gce


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is about how long Google makes us wait, and nobody else uses this project."""
    monkeypatch.setattr("bigmachine.cloud._backoff._FIRST_DELAY", 0.02)
    monkeypatch.setattr("bigmachine.cloud._backoff._FIRST_POLL", 0.02)
    monkeypatch.setattr("bigmachine_gcp._api._READ_RATE", 1000.0)
    monkeypatch.setattr("bigmachine_gcp._api._WRITE_RATE", 1000.0)
