from __future__ import annotations

import pytest

from tests.unit.rpc.wires import WIRES, Open


@pytest.fixture(params=list(WIRES))
def wire(request: pytest.FixtureRequest) -> Open:
    """A wire of each kind, as an async context manager that takes the service object."""
    return WIRES[request.param]
