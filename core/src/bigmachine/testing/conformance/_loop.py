"""The steps of a trio loop: how long they take, and how to cancel a call after some of them."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable

import trio

Moment = Callable[[], Awaitable[None]]
"""Returns when the moment has come."""


class Stopwatch(trio.abc.Instrument):
    """Measures the longest time that a task blocked the loop.

    Only steps that gave up the processor count: those of a hook that sleeps or waits for
    the network. A step that was slow because the computer is busy does not count.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._began = 0.0
        self._waits = 0

    def __enter__(self) -> Stopwatch:
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(self, *_: object) -> None:
        trio.lowlevel.remove_instrument(self)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        self._waits = _waits()
        self._began = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        if self._began and _waits() > self._waits:
            self.longest = max(self.longest, time.perf_counter() - self._began)


async def cancelled(call: Callable[[], Awaitable[object]], moment: Moment | None) -> bool:
    """Await ``call`` and cancel it at a moment, None for at once; return whether that ended it."""
    is_done = False
    with trio.CancelScope() as scope:

        async def cancel(moment: Moment) -> None:
            await moment()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            if moment is None:
                scope.cancel()
            else:
                nursery.start_soon(cancel, moment)
            await call()
            is_done = True
            nursery.cancel_scope.cancel()
    return not is_done


def after_steps(count: int) -> Moment | None:
    """Return the moment after ``count`` steps of the loop; None for before the first."""
    return functools.partial(_step, count) if count else None


async def _step(times: int) -> None:
    for _ in range(times):
        await trio.lowlevel.checkpoint()


def _waits() -> int:
    """Return how often this thread gave up the processor voluntarily."""
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    except (ImportError, AttributeError):  # no such count here: every step is taken
        return int(time.perf_counter() * 1e9)
