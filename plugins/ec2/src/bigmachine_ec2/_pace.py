"""How fast one client may ask: a token bucket, pauses between tries, and between looks."""

from __future__ import annotations

import random
from collections.abc import Iterator

import trio

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 20.0
_FIRST_POLL = 0.25
_LONGEST_POLL = 5.0


class Pace:
    """A bucket of ``burst`` requests that fills by ``rate`` a second; first come, first served."""

    def __init__(self, *, rate: float, burst: int) -> None:
        self._gap = 1 / rate
        self._slack = (burst - 1) / rate
        self._due = -float("inf")  # when the next request would be, had there been no burst

    async def turn(self) -> None:
        """Wait until another request may be made."""
        now = trio.current_time()
        due = max(self._due, now - self._slack)
        self._due = due + self._gap
        await trio.sleep_until(due)

    def exhaust(self) -> None:
        """Take the bucket for empty: somebody else uses the account, too."""
        self._due = max(self._due, trio.current_time() + self._gap)


def polls() -> Iterator[float]:
    """Yield how long to wait between looks at something that AWS is about to do, without end."""
    seconds = _FIRST_POLL
    while True:
        yield seconds
        seconds = min(_LONGEST_POLL, seconds * 2)


def pauses(tries: int) -> Iterator[float]:
    """Yield how long to wait after each of so many tries but the last, with full jitter.

    As in "Exponential backoff and jitter" of the AWS Architecture Blog: clients that were
    refused together must not come back together.
    """
    for attempt in range(tries - 1):
        yield random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt))
