"""The CPU time of each thread of this process."""

from __future__ import annotations

import sys
import time


def thread_cpu_ns(native_id: int) -> int | None:
    """Return how long a thread has run on a processor, in nanoseconds; None if it is not known.

    ``native_id`` is the kernel's number of the thread. The time is known on Linux only, and not
    of a thread that has ended.
    """
    if sys.platform != "linux":
        return None
    try:
        # The clock's number, as in Linux's posix-timers.h. pthread_getcpuclockid() makes the same
        # one, but crashes if the thread has ended, while this is an error then.
        return time.clock_gettime_ns(~native_id << 3 | 6)
    except OSError:
        return None
