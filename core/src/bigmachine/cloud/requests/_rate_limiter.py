"""A client-side rate limit for requests: a token bucket."""

from __future__ import annotations

import trio


class RateLimiter:
    """A bucket of ``burst`` requests, refilled at ``rate`` a second; first come, first served."""

    def __init__(self, *, rate: float, burst: int) -> None:
        self._interval = 1 / rate
        self._burst_seconds = (burst - 1) / rate
        self._next = -float("inf")  # when the next request would be due without a burst

    async def wait(self) -> None:
        """Wait until another request may be sent."""
        now = trio.current_time()
        due = max(self._next, now - self._burst_seconds)
        self._next = due + self._interval
        await trio.sleep_until(due)

    def drain(self) -> None:
        """Empty the bucket: another client uses the same account."""
        self._next = max(self._next, trio.current_time() + self._interval)
