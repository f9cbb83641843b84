"""Exponential backoff: growing pauses between attempts."""

from __future__ import annotations

import random
from collections.abc import Iterator

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 5.0


def backoff(*, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> Iterator[float]:
    """Yield growing pauses with jitter, in seconds, without end."""
    pause = first
    while True:
        yield pause * random.uniform(0.5, 1.5)
        pause = min(1.5 * pause, longest)
