"""How fast a machine's output may come, where a person reads it."""

from __future__ import annotations

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
