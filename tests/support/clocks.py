"""A mock clock for tests whose code also runs in real threads."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from pathlib import Path

from trio.testing import MockClock

_BUSY_SECONDS = 5.0  # real ones, after which a thread is taken for one that never pauses


def jumping_clock(threshold: float = 0.02) -> MockClock:
    """Return a clock that jumps once all tasks have been idle for ``threshold`` real seconds.

    It does not jump while a thread of this process has work to do. On a busy computer a thread
    waits for a processor longer than any small threshold, and the clock would jump past the
    timeout of the very task that waits for the thread.
    """
    clock = MockClock(autojump_threshold=threshold)
    jump, busy_since = clock.jump, math.inf

    def jump_if_idle(seconds: float) -> None:
        nonlocal busy_since
        now = time.monotonic()
        busy_since = min(busy_since, now) if _works() else math.inf
        if busy_since == math.inf or now > busy_since + _BUSY_SECONDS:
            jump(seconds)

    # The run loop calls it when all tasks are idle, and again soon if they still are.
    clock.jump = jump_if_idle  # type: ignore[method-assign]
    return clock


def _works() -> bool:
    """Whether another thread of this process runs, or waits for a processor or a disk."""
    for task in Path("/proc/self/task").glob("*"):
        if int(task.name) != threading.get_native_id():
            with contextlib.suppress(OSError):  # it has ended
                if (task / "stat").read_text().rpartition(")")[2].split()[0] in "RD":
                    return True
    return False
