"""What a run spends on machines that cost money, and its cost limit."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest

from bigmachine.system import Event, Instance, hookimpl

from ..._events import MachineChanged, MachinesStarted
from ..._values import State
from ._clauses import Tier

MACHINES_A_TEST = 2
"""How many machines a test starts, on average."""

_LEAST_SECONDS = 60.0  # providers charge a minute at least
_TEST_SECONDS = 240.0  # a VM's boot, the test itself, and its end


@dataclass
class Budget:
    """What a run has spent so far, in US dollars; 0 for systems that cost nothing.

    ``cost_per_hour`` is the price of a machine if its `Instance` does not say it.
    ``tier`` is how far the run may go, ``max_cost`` how much it may spend.
    """

    tier: Tier = Tier.LOCAL
    max_cost: float = 0.0
    is_billed: bool = False
    cost_per_hour: float = 0.0
    _running: dict[str, tuple[float, float]] = field(default_factory=dict)
    _spent: float = 0.0

    @property
    def spent(self) -> float:
        """What was spent until now, including machines that still run."""
        now = time.monotonic()
        return self._spent + sum(_cost(rate, now - began) for began, rate in self._running.values())

    @property
    def test_estimate(self) -> float:
        """What one more test may cost."""
        return MACHINES_A_TEST * _cost(self.cost_per_hour, _TEST_SECONDS)

    def estimate(self, tests: int) -> float:
        """Return what ``tests`` tests that need machines may cost."""
        return tests * self.test_estimate if self.is_billed else 0.0

    def admit(self) -> None:
        """Skip a test that needs machines if they may not be started, or cost too much."""
        if self.tier is Tier.OFFLINE:
            pytest.skip("tier offline: no machine is started")
        if not self.is_billed:
            return
        if self.tier is not Tier.LIVE:
            pytest.skip(f"tier {self.tier}: its machines cost money")
        if self.spent + self.test_estimate > self.max_cost:
            pytest.skip(
                f"the cost limit of ${self.max_cost:.2f} is reached: ${self.spent:.2f} "
                f"spent, and this test may cost ${self.test_estimate:.2f}"
            )

    def started(self, instance: Instance) -> None:
        """Start counting a machine."""
        if not self.is_billed:
            return
        rate = instance.cost_per_hour
        self._running[instance.name] = (
            time.monotonic(),
            self.cost_per_hour if rate is None else rate,
        )

    def ended(self, name: str) -> None:
        """Stop counting the machine with that full name."""
        if name in self._running:
            began, rate = self._running.pop(name)
            self._spent += _cost(rate, time.monotonic() - began)

    def charge(self, machines: int) -> None:
        """Count machines that were not observed, for as long as a test may take."""
        if self.is_billed:
            self._spent += machines * _cost(self.cost_per_hour, _TEST_SECONDS)

    def observer(self) -> BudgetObserver:
        """Return an observer that counts the machines of one session."""
        return BudgetObserver(self)


class BudgetObserver:
    """Counts the machines of one session."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._names: dict[str, str] = {}  # full names by addresses, which events have

    @hookimpl
    def event(self, event: Event) -> None:
        """Count machines from their start until they are stopped."""
        if isinstance(event, MachinesStarted):
            for instance in event.instances:
                self._names[instance.addr] = instance.name
                self._budget.started(instance)
        elif isinstance(event, MachineChanged) and event.state is State.STOPPED:
            self._budget.ended(self._names.get(event.addr, ""))


def _cost(rate: float, seconds: float) -> float:
    return rate * max(seconds, _LEAST_SECONDS) / 3600
