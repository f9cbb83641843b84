"""How long the steps of a trio loop take."""

from __future__ import annotations

import time
from types import TracebackType

import trio


class Stopwatch(trio.abc.Instrument):
    """Measures the longest time that a task kept the loop from turning.

    Only steps that gave up the processor count: a hook that sleeps or waits for the
    network does, while one that the kernel had to hold back on a busy computer, or that
    computes for a moment, does not.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._began = 0.0
        self._waits = 0

    async def __aenter__(self) -> Stopwatch:
        trio.lowlevel.add_instrument(self)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        trio.lowlevel.remove_instrument(self)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        self._waits = _waits()
        self._began = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        if self._began and _waits() > self._waits:
            self.longest = max(self.longest, time.perf_counter() - self._began)


def _waits() -> int:
    """How often this thread gave up the processor by itself."""
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    except (ImportError, AttributeError):  # no such count here: every step is taken
        return int(time.perf_counter() * 1e9)
