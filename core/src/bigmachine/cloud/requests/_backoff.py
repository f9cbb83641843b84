"""Delays between attempts of a request, and between polls of a change."""

from __future__ import annotations

import random
from collections.abc import Iterator

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 20.0
_FIRST_POLL, _LONGEST_POLL = 0.25, 5.0


def backoff(attempts: int) -> Iterator[float]:
    """Yield the delay after each of so many attempts but the last, with full jitter.

    As in "Exponential backoff and jitter" of the AWS Architecture Blog: clients that were
    refused together must not return together.
    """
    for attempt in range(attempts - 1):
        yield random.uniform(0, min(_LONGEST_DELAY, _FIRST_DELAY * 2**attempt))


def poll_intervals() -> Iterator[float]:
    """Yield, without end, how long to wait until the next look at a change at the provider."""
    seconds = _FIRST_POLL
    while True:
        yield seconds
        seconds = min(_LONGEST_POLL, seconds * 2)
