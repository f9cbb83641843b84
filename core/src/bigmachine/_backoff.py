"""Exponential backoff: growing pauses between attempts."""

from __future__ import annotations

import random
from collections.abc import Iterator

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 5.0


def backoff() -> Iterator[float]:
    """Yield growing pauses with jitter, in seconds, without end."""
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.5)
        pause = min(1.5 * pause, LONGEST_PAUSE)
