"""What is going to happen in an emulated cloud, and its clock, which tests may advance."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Timeline:
    """Events in the order of their times; whoever looks has those happen that are due."""

    def __init__(self, before_event: Callable[[], None] = lambda: None) -> None:
        self._before_event = before_event
        self._ahead = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        return time.time() + self._ahead

    def timestamp(self) -> str:
        """Return the time as clouds write it, to the millisecond."""
        now = datetime.fromtimestamp(self.now(), UTC)
        return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}+00:00"

    def advance(self, seconds: float) -> None:
        """Set the clock forward."""
        self._ahead += seconds

    def advance_through(self, seconds: float) -> None:
        """Set the clock forward from event to event, so that each happens at its own time."""
        end = self.now() + seconds
        while self._events and self._events[0][0] <= end:
            self.advance(max(0.0, self._events[0][0] - self.now()))
            self.run_due()
        self.advance(max(0.0, end - self.now()))

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Have an event happen then."""
        heapq.heappush(self._events, (self.now() + seconds, next(self._numbers), event))

    def run_due(self) -> None:
        """Have all events happen whose time has come, also those that these add."""
        while self._events and self._events[0][0] <= self.now():
            _, _, event = heapq.heappop(self._events)
            self._before_event()
            event()
