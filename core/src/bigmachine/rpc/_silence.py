"""Whether a peer is silent, told by a loop that may be late itself."""

from __future__ import annotations

from collections.abc import Callable

import trio

_DELAY_SECONDS = 1.0  # more than a loop on a busy computer is late


async def until_silent(heard_at: Callable[[], float], timeout: float) -> None:
    """Return once nothing was heard for ``timeout`` seconds, from now on.

    ``heard_at`` tells when something was heard last, on trio's clock.
    """
    since = trio.current_time()
    while (end := max(since, heard_at()) + timeout) > trio.current_time():
        await trio.sleep_until(end)
        if trio.current_time() > end + _DELAY_SECONDS:
            # Something held this loop up, such as native code: what came meanwhile is unread.
            since = trio.current_time()
