"""A driver's computer that slept: its machines did not, and must be asked at once."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

import trio

logger = logging.getLogger("bigmachine.session")

_POLL_SECONDS = 5.0
_SHORTEST = 1.0  # the two clocks are not read at the same moment


async def watch_suspension(
    on_resume: Callable[[], None], *, suspended: Callable[[], float] | None = None
) -> None:
    """Call ``on_resume`` each time after this computer has slept, until cancelled.

    trio's clock stands still meanwhile, and what is due in a minute would come a minute late.
    ``suspended`` returns for how long this computer has slept so far, in seconds.
    """
    suspended = suspended or suspended_seconds
    before = suspended()
    while True:
        await trio.sleep(_POLL_SECONDS)
        now = suspended()
        if now - before >= _SHORTEST:
            logger.info("this computer slept for %.0f s", now - before)
            on_resume()
        before = now


def suspended_seconds() -> float:
    """Return for how long this computer has slept since its boot; 0 if that can't be known.

    On Windows trio's clock goes on while the computer sleeps, so there is nothing to know.
    """
    if sys.platform == "linux":  # clock_gettime(2)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    if sys.platform == "darwin":  # clock_gettime_nsec_np(3)
        return time.clock_gettime(time.CLOCK_MONOTONIC) - time.clock_gettime(time.CLOCK_UPTIME_RAW)
    return 0.0
