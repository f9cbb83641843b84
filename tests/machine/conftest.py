from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import bigmachine as bm
from bigmachine._session import _one_error_nursery

sys.path.insert(0, str(Path(__file__).parent))

from memory import MemorySystem


class Kit:
    """A session on in-memory machines, and time that passes when everybody waits."""

    def __init__(self) -> None:
        self.system = MemorySystem()

    @contextlib.asynccontextmanager
    async def session(self, **options: Any) -> AsyncIterator[bm.AsyncSession]:
        async with _one_error_nursery() as nursery:
            self.system.nursery = nursery
            async with bm.AsyncSession(self.system, **options) as session:
                yield session
            nursery.cancel_scope.cancel()


Test = Callable[[Kit], Awaitable[None]]


@pytest.fixture
def run() -> Callable[[Test], None]:
    """Run an async test under a mock clock that jumps whenever everybody waits."""

    def run(test: Test) -> None:
        trio.run(test, Kit(), clock=MockClock(autojump_threshold=0.02))

    return run
