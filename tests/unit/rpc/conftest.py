from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.rpc.other_side import OtherSide
from tests.unit.rpc.wires import WIRES, Open

# By shared memory all is as over TLS, but for large buffers, which have tests of their own.
_PARAMS = [
    pytest.param(name, marks=[pytest.mark.long] if name == "shared" else []) for name in WIRES
]


@pytest.fixture(params=_PARAMS)
def wire(request: pytest.FixtureRequest) -> Open:
    """A wire of each kind, as an async context manager that takes the service object."""
    return WIRES[request.param]


@pytest.fixture(scope="module")
def other_side() -> Iterator[OtherSide]:
    """A process that unpickles what a test has pickled."""
    other_side = OtherSide()
    yield other_side
    other_side.close()
