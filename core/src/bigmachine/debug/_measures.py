"""How machines are: asked of them only while somebody looks."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import trio

from .._repeated_event import RepeatedEvent
from .._values import State
from ..machine._async import AsyncMachine
from ..metrics import Metric, Variables

logger = logging.getLogger("bigmachine.session")

PERIOD = 2.0
"""Seconds between two rounds of questions."""

_WATCHED_SECONDS = 10.0  # after somebody has looked
_ANSWER_SECONDS = 5.0  # for a machine that computes, or is far away
_FIRST_SECONDS = 2.0  # for machines that nobody has looked at before
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Measured:
    """A machine's metrics, and those of the time before, for rates.

    The times are those of the machine's own clock, but for ``at``, which is on `time.monotonic`.
    """

    at: float
    variables: Variables
    earlier: Variables | None

    def sum(self, name: str) -> float | None:
        """Return the value of a counter or gauge; None if the machine does not measure it."""
        metric = self.variables.get(name)
        return None if metric is None else metric.sum

    def rate(self, name: str, **labels: str) -> float | None:
        """Return by how much a counter grows in a second; None if that is not known yet."""
        if self.earlier is None or name not in self.variables or name not in self.earlier:
            return None
        seconds = self.variables.time - self.earlier.time
        if seconds <= 0:  # its clock was set
            return None
        now, before = (each[name].select(**labels).sum for each in (self.variables, self.earlier))
        return max(0.0, now - before) / seconds

    def median(self, name: str) -> float | None:
        """Return the median of a histogram; None if it is empty."""
        metric = self.variables.get(name)
        return None if metric is None else quantile(metric, 0.5)


def quantile(metric: Metric, q: float) -> float | None:
    """Return a histogram's quantile; None if it is empty."""
    value = metric.quantile(q)
    return None if math.isnan(value) else value


class Measures:
    """The last answers of each machine. ``machines`` returns those that are not stopped."""

    def __init__(self, machines: Callable[[], Iterable[AsyncMachine]]) -> None:
        self.answers: dict[str, Measured] = {}
        """What each machine that runs said last, by its name."""
        self._machines = machines
        self._watched_at = -math.inf
        self._looked = RepeatedEvent()
        self._answered = RepeatedEvent()
        self._asked: set[str] = set()  # those whose answer is awaited
        self._is_started = False

    def start(self, nursery: trio.Nursery) -> None:
        """Begin to `run`, unless it has begun: several servers may show the same measures."""
        if not self._is_started:
            self._is_started = True
            nursery.start_soon(self.run, name="bigmachine measures")

    def look(self) -> None:
        """Note that somebody looks: machines are asked for the next seconds."""
        self._watched_at = time.monotonic()
        self._looked.set()

    async def first(self) -> None:
        """Look, and give machines a moment to answer once: who looks once would see nothing."""
        self.look()
        with trio.move_on_after(_FIRST_SECONDS if self._is_started else 0):
            while not self._running().keys() <= self.answers.keys():
                await self._answered.wait()

    async def run(self) -> None:
        """Ask all running machines again and again while somebody looks, until cancelled."""
        limiter = trio.CapacityLimiter(_AT_ONCE)
        async with trio.open_nursery() as nursery:
            while True:
                while time.monotonic() - self._watched_at > _WATCHED_SECONDS:
                    self.answers.clear()  # rates over such a long time would tell little
                    await self._looked.wait()
                    self.answers.clear()  # one may have come late
                machines = self._running()
                self.answers = {name: one for name, one in self.answers.items() if name in machines}
                for name in machines.keys() - self._asked:  # one that hangs holds up no other
                    self._asked.add(name)
                    nursery.start_soon(self._ask, machines[name], limiter)
                await trio.sleep(PERIOD)

    def _running(self) -> dict[str, AsyncMachine]:
        return {one.name: one for one in self._machines() if one.state == State.RUNNING}

    async def _ask(self, machine: AsyncMachine, limiter: trio.CapacityLimiter) -> None:
        try:
            async with limiter:
                with trio.move_on_after(_ANSWER_SECONDS):
                    variables = await machine.variables()
                    before = self.answers.get(machine.name)
                    earlier = before.variables if before else None
                    self.answers[machine.name] = Measured(time.monotonic(), variables, earlier)
                    self._answered.set()
        except Exception as exc:  # it has stopped, or a service has broken its metrics
            logger.debug("%s has not said how it is: %r", machine.name, exc)
        finally:
            self._asked.discard(machine.name)
