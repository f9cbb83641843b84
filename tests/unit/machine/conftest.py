from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio

import bigmachine as bm
from bigmachine.testing import InProcessSystem
from tests.support.clocks import jumping_clock


class KitSystem(InProcessSystem):
    """In-process machines; a test sets what their system does and reports."""

    capabilities = InProcessSystem.capabilities | {bm.Capability.TAIL}
    boot_timeout = 300.0
    reports_ended_machines = True  # by keepalive_failed
    has_busy_machines = False
    start_count: int | None = None  # machines to start, whatever was requested
    boot_lines: tuple[bytes, ...] = ()  # what each machine prints

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.stopped: list[str] = []

    async def start(self, count, request):
        return await super().start(count if self.start_count is None else self.start_count, request)

    async def keepalive_failed(self, instance):
        return await super().keepalive_failed(instance) if self.reports_ended_machines else None

    def is_busy(self, instance):
        return self.has_busy_machines

    async def stop(self, instance):
        await super().stop(instance)
        self.stopped.append(instance.name)

    async def tail(self, instance):
        for line in self.boot_lines:
            yield line
        await trio.sleep_forever()


class Kit:
    """A session on in-process machines."""

    def __init__(self) -> None:
        self.system = KitSystem()

    @property
    def timings(self) -> bm.Keepalive:
        return self.system.keepalive()

    @contextlib.asynccontextmanager
    async def session(self, **options: Any) -> AsyncIterator[bm.AsyncSession]:
        async with bm.AsyncSession(self.system, **options) as session:
            yield session


Test = Callable[[Kit], Awaitable[None]]


@pytest.fixture
def run() -> Callable[[Test], None]:
    """Run an async test under a mock clock that jumps ahead whenever all tasks wait."""

    def run(test: Test) -> None:
        trio.run(test, Kit(), clock=jumping_clock())

    return run
