"""Whether a peer is silent, told by a loop that may be late itself."""

from __future__ import annotations

from collections.abc import Callable

import trio

_STEPS = 8  # to a timeout


async def until_silent(heard_at: Callable[[], float], timeout: float) -> None:
    """Return once nothing was heard for ``timeout`` seconds, from now on.

    ``heard_at`` tells when something was heard last, on trio's clock. Time in which this loop
    was held up, such as by native code, does not count: what came meanwhile is unread.
    """
    step = timeout / _STEPS
    since = now = trio.current_time()
    while (end := max(since, heard_at()) + timeout) > now:
        due = min(now + step, end)
        await trio.sleep_until(due)
        now = trio.current_time()
        if now > due + step:
            since = now
