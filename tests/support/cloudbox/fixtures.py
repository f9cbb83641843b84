"""The fixture for tests that need a cloud in a box; a ``conftest.py`` imports it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from tests.support.cloudbox import Box, why_not

InBox = Callable[[Callable[[Box], Awaitable[Any]]], Any]


@pytest.fixture
def in_box() -> InBox:
    """Return a function that runs an async function with a new box; skip if none is possible."""
    if reason := why_not():
        pytest.skip(f"a cloud in a box {reason}")

    def run(main: Callable[[Box], Awaitable[Any]]) -> Any:
        async def whole() -> Any:
            async with Box() as box:
                return await main(box)

        return trio.run(whole)

    return run
