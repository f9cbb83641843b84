"""A mock clock for tests whose code also runs in real threads."""

from __future__ import annotations

import os

from trio.testing import MockClock


def jumping_clock(threshold: float = 0.02) -> MockClock:
    """Return a clock that jumps once all tasks have been idle for ``threshold`` real seconds.

    The threshold is the time that a real thread has to answer. If other processes keep the
    processors busy, a thread waits for its turn, and the clock would jump past the timeout of the
    task that waits for the thread. So the threshold grows with the load of the computer.
    """
    load_per_processor = os.getloadavg()[0] / (os.cpu_count() or 1)
    return MockClock(autojump_threshold=threshold * max(1.0, 2 * load_per_processor))
