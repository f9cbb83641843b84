"""How fast a machine's output may come, where a person reads it."""

from __future__ import annotations

import time

LINES_AT_ONCE = 2000
"""So many lines of a machine are shown at once, where a person reads them."""
LINES_PER_SECOND = 200
"""So many of them are shown in a second after that."""

# Of one machine's unfinished lines are shown: several at once, not too fast; then a few.
_STEPS_AT_ONCE = 8
_SECONDS_BETWEEN_STEPS = 0.25
_SECONDS_PER_STEP = 5.0


class Pace:
    """When the next step of a machine may be shown: a token bucket."""

    def __init__(self) -> None:
        self._tokens = float(_STEPS_AT_ONCE)
        self._counted = self._last = float("-inf")

    def due(self, now: float, *, share: int) -> float:
        """Return the time for one of ``share`` machines whose lines are unfinished."""
        earned = (now - max(self._counted, now - 3600)) / (_SECONDS_PER_STEP * share)
        self._tokens = min(float(_STEPS_AT_ONCE), self._tokens + earned)
        self._counted = now
        wait = max(0.0, 1 - self._tokens) * _SECONDS_PER_STEP * share
        return max(now + wait, self._last + _SECONDS_BETWEEN_STEPS * share)

    def spend(self, now: float) -> None:
        self._tokens = max(0.0, self._tokens - 1)
        self._last = now


class LineLimit:
    """Which lines of a machine are shown, and how many are not: a token bucket.

    After one that is hidden, all are, for a second; then it is told how many, and some are shown.
    """

    def __init__(self) -> None:
        self.hidden = 0
        """How many are, since it was told last."""
        self._tokens = float(LINES_AT_ONCE)
        self._counted = time.monotonic()

    def admits(self, now: float) -> bool:
        """Whether one more line is to be shown now."""
        self._earn(now)
        if self.hidden or self._tokens < 1:
            self.hidden += 1
            return False
        self._tokens -= 1
        return True

    def seconds_until_told(self, now: float) -> float:
        """Return in how many seconds it is time to tell how many are hidden."""
        self._earn(now)
        return max(0.0, LINES_PER_SECOND - self._tokens) / LINES_PER_SECOND

    def tell(self) -> int:
        """Return how many are hidden; from now on, lines are shown again."""
        hidden, self.hidden = self.hidden, 0
        return hidden

    def _earn(self, now: float) -> None:
        self._tokens += (now - self._counted) * LINES_PER_SECOND
        self._tokens = min(self._tokens, float(LINES_AT_ONCE))
        self._counted = now
