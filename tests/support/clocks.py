"""A mock clock for tests whose code also runs in real threads."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from pathlib import Path

import trio
from trio.testing import MockClock

_BUSY_SECONDS = 5.0  # real ones, after which a thread is taken for one that never pauses


def jumping_clock(threshold: float = 0.02) -> MockClock:
    """Return a clock that jumps once all tasks have been idle for ``threshold`` real seconds.

    It does not jump while a thread of this process has work to do. On a busy computer a thread
    waits for a processor longer than any small threshold, and the clock would jump past the
    timeout of the very task that waits for the thread.
    """
    clock = MockClock(autojump_threshold=threshold / 2)  # it is idle twice before each jump
    # The run loop calls this when all tasks are idle, and again soon if they still are.
    clock.jump = _Jump(clock).try_to  # type: ignore[method-assign]
    return clock


class _Jump(trio.abc.Instrument):
    """Lets a clock jump if twice in a row nothing was at work, and no task ran in between.

    Once is not enough: a thread may have ended its work just before we look, but after the run
    loop did.
    """

    def __init__(self, clock: MockClock) -> None:
        self._jump = clock.jump
        self._was_idle = False
        self._busy_since = math.inf

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._was_idle = False

    def try_to(self, seconds: float) -> None:
        trio.lowlevel.add_instrument(self)  # the first time; later calls do nothing
        now = time.monotonic()
        self._busy_since = min(self._busy_since, now) if _is_any_thread_busy() else math.inf
        is_idle = self._busy_since == math.inf or now > self._busy_since + _BUSY_SECONDS
        if is_idle and self._was_idle:
            self._jump(seconds)
        self._was_idle = is_idle


def _is_any_thread_busy() -> bool:
    """Whether another thread of this process runs, or waits for a processor or a disk."""
    for task in Path("/proc/self/task").glob("*"):
        if int(task.name) != threading.get_native_id():
            with contextlib.suppress(OSError):  # it has ended
                if (task / "stat").read_text().rpartition(")")[2].split()[0] in "RD":
                    return True
    return False
