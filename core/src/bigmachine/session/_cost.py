"""What a session's machines have cost so far, and when the user's limit is reached.

It is an estimate from the system's prices, rather too high than too low: a machine counts from
the request to start it until its provider has confirmed that it is gone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from .._events import CostWarning
from .._repeated_event import RepeatedEvent
from .._values import Cost, CostGroup, Instance, dollar_text, instance_kind
from ..errors import StartError

_LEAST_SECONDS = 60.0  # clouds charge for the whole first minute, then by the second
_FREEING_SECONDS = 60.0  # until a machine that is stopped costs nothing any more
_WARNING_FRACTION = 0.8
_WARNING_SECONDS = 60.0  # before the end, at a rate at which 80 % is reached later than that
_PRECISION_SECONDS = 0.01  # finer than anybody is billed, coarser than a clock's rounding


class CostMeter:
    """Counts what a session costs, by trio's clock, and watches over its ``limit`` in dollars.

    ``is_billed`` tells whether machines without a price have an unknown one, or cost nothing.
    """

    def __init__(self, *, is_billed: bool, limit: float | None = None) -> None:
        self.limit = limit
        self._is_billed = is_billed
        self._entries: dict[str, _Entry] = {}
        self._clock: trio.abc.Clock | None = None
        # Set when there are more machines. With fewer, `watch` wakes too early: it is harmless.
        self._changed = RepeatedEvent()
        self._why_over = ""

    @property
    def cost(self) -> Cost:
        """The cost so far; may be read in any thread, and after the session."""
        entries = [*self._entries.values()]
        if not entries:
            return Cost()
        now = self._now()
        by_kind: dict[str, list[_Entry]] = {}
        for entry in entries:
            by_kind.setdefault(instance_kind(entry.instance), []).append(entry)
        return Cost(
            dollars=sum(entry.dollars(now) for entry in entries),
            is_partial=any(entry.instance.cost_per_hour is None for entry in entries),
            groups=tuple(
                CostGroup(len(those), kind, sum(e.seconds(now) for e in those) / len(those))
                for kind, those in by_kind.items()
            ),
        )

    @property
    def remaining_budget(self) -> float | None:
        """What may be spent on new machines, when the cost to stop the others is kept; or None."""
        if self.limit is None:
            return None
        after = self._now() + _FREEING_SECONDS
        return self.limit - sum(entry.dollars(after) for entry in self._entries.values())

    def check(self) -> None:
        """Raise `StartError` if no more machines may be started."""
        if self._why_over:
            raise StartError(f"no more machines are started: {self._why_over}")
        if self.limit is not None and (self.remaining_budget or 0.0) <= 0:
            raise StartError(
                f"no more machines are started: the session has cost {self.cost}, and "
                f"max_session_cost is {dollar_text(self.limit)}"
            )

    def started(self, instances: Sequence[Instance], *, since: float) -> None:
        """Count these instances from ``since`` on, a time of trio's clock."""
        self._clock = trio.lowlevel.current_clock()
        for instance in instances:
            if self._is_billed or instance.cost_per_hour is not None:
                self._entries[instance.name] = _Entry(instance, since)
        self._changed.set()

    def freed(self, instance: Instance) -> None:
        """Stop counting an instance: its provider has confirmed that it is gone."""
        entry = self._entries.get(instance.name)
        if entry is not None and entry.ended is None:
            entry.ended = self._now()

    def close(self) -> None:
        """Stop counting all instances: they are confirmed to be gone."""
        for entry in self._running():
            self.freed(entry.instance)

    async def watch(
        self, *, warn: Callable[[CostWarning], None], stop: Callable[[str], bool]
    ) -> None:
        """Warn once when most of the limit is spent; stop all machines before it is exceeded.

        ``stop`` returns whether there was anything to stop. Does not return even then: a system
        may start more machines than the budget allows.
        """
        limit = math.inf if self.limit is None else self.limit
        has_warned = False
        while True:
            rate = sum(entry.per_second for entry in self._running())
            end = warning = math.inf  # in how many seconds
            if rate and self.remaining_budget is not None:
                end = self.remaining_budget / rate
                warning = end - max(_WARNING_SECONDS, (1 - _WARNING_FRACTION) * limit / rate)
            if warning <= _PRECISION_SECONDS and not has_warned:
                has_warned = True
                warn(CostWarning(self.cost.dollars, limit, max(0.0, end)))
            why = self._why_over or self._why_unknown()  # a start went on when it was reached
            if end <= _PRECISION_SECONDS:
                why = f"max_session_cost, {dollar_text(limit)}, is reached"
            if why and stop(why):
                self._why_over = why
            with trio.move_on_after(math.inf if why else end if has_warned else warning):
                await self._changed.wait()

    def _why_unknown(self) -> str:
        for entry in self._running():
            if entry.instance.cost_per_hour is None:
                what = instance_kind(entry.instance) or "its machines"
                return f"the price of {what} is not known, so max_session_cost can't be kept"
        return ""

    def _running(self) -> list[_Entry]:
        return [entry for entry in self._entries.values() if entry.ended is None]

    def _now(self) -> float:
        return 0.0 if self._clock is None else self._clock.current_time()


@dataclass(slots=True)
class _Entry:
    """One machine on the bill, between two times of trio's clock."""

    instance: Instance
    began: float
    ended: float | None = None

    @property
    def per_second(self) -> float:
        return (self.instance.cost_per_hour or 0.0) / 3600

    def seconds(self, at: float) -> float:
        return (at if self.ended is None else min(self.ended, at)) - self.began

    def dollars(self, at: float) -> float:
        return max(_LEAST_SECONDS, self.seconds(at)) * self.per_second
