"""The cost of machines is counted, and its limit is enforced."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trio

import bigmachine as bm
from bigmachine.testing import InProcessSystem
from bigmachine.testing.in_process._system import InProcessOptions
from tests.support.clocks import jumping_clock
from tests.support.services import Echo

PRICE = 3.6  # an hour: a tenth of a cent a second
SECOND = PRICE / 3600
SPOT = {"instance_type": "c7i.xlarge", "market": "spot"}


SERVICES = {"Echo": Echo()}


@dataclass(frozen=True, slots=True)
class PaidOptions(InProcessOptions):
    max_session_cost: float | None = bm.option(None, help="The most that a session may cost.")


class Paid(InProcessSystem):
    """Machines that cost money, and take time to start and to stop."""

    name = "paid"
    Options = PaidOptions
    is_billed = True
    price: float | None = PRICE
    details: dict[str, str] = SPOT
    seconds_to_start = 20.0
    seconds_to_stop = 30.0

    def _begin(self) -> None:
        super()._begin()
        self.requests: list[tuple[int, float | None]] = []
        self.freed: list[str] = []

    async def start(self, count: int, request: bm.LaunchRequest) -> Sequence[bm.Instance]:
        self.requests.append((count, request.remaining_budget))
        await trio.sleep(self.seconds_to_start)
        made = await super().start(count, request)
        return [replace(i, cost_per_hour=self.price, details=self.details) for i in made]

    async def stop(self, instance: bm.Instance) -> None:
        await trio.sleep(self.seconds_to_stop)
        await super().stop(instance)
        self.freed.append(instance.name)


class Events:
    """An observer that records the events about cost, and their times."""

    def __init__(self) -> None:
        self.warnings: list[tuple[float, bm.CostWarning]] = []
        self.closed: bm.Cost | None = None

    @bm.hookimpl
    def event(self, event: bm.Event) -> None:
        if isinstance(event, bm.CostWarning):
            self.warnings.append((trio.current_time(), event))
        elif isinstance(event, bm.SessionClosed):
            self.closed = event.cost


@pytest.fixture
def events() -> Events:
    return Events()


def run(test: Any) -> None:
    trio.run(test, clock=jumping_clock())


def approximately(dollars: float) -> Any:
    return pytest.approx(dollars, abs=5 * SECOND)  # a graceful stop takes a moment


# -- the cost -------------------------------------------------------------------------


def test_machine_costs_from_request_until_its_stop_is_confirmed(events, caplog):
    async def test():
        with caplog.at_level(logging.INFO, "bigmachine.session"):
            async with bm.AsyncSession(Paid(), plugins=[events]) as session:
                assert session.cost == bm.Cost()
                first, _ = await session.start(2, services=SERVICES)
                assert session.cost.dollars == pytest.approx(2 * 60 * SECOND)  # the minimum
                await trio.sleep(100)
                assert session.cost.dollars == approximately(2 * 120 * SECOND)
                await first.shutdown()
                assert session.cost.dollars == approximately(2 * 150 * SECOND)
                await trio.sleep(1000)
                assert session.cost.dollars == approximately((150 + 1150) * SECOND)
        assert session.cost.dollars == approximately((150 + 1180) * SECOND)
        assert session.cost == events.closed
        assert str(session.cost) == "2 × c7i.xlarge spot, 11 min, about $1.33"
        short_name = session.name.partition(".")[0]
        assert caplog.messages[-1] == f"session {short_name} is closed; cost: {session.cost}"

    run(test)


def test_machine_without_confirmed_stop_costs_until_session_ends(events):
    class NeverConfirms(Paid):
        async def stop(self, instance):
            raise OSError("no answer")

    async def test():
        async with bm.AsyncSession(NeverConfirms(), plugins=[events]) as session:
            [machine] = await session.start(1, services=SERVICES)
            await machine.shutdown()
            await trio.sleep(1000)
            assert session.cost.dollars == approximately(1020 * SECOND)
        assert events.closed.dollars == approximately(1020 * SECOND)
        await trio.sleep(1000)
        assert session.cost == events.closed

    run(test)


def test_session_on_free_system_reports_no_cost(events, caplog):
    async def test():
        with caplog.at_level(logging.INFO, "bigmachine.session"):
            async with bm.AsyncSession(InProcessSystem(), plugins=[events]) as session:
                await session.start(1, services=SERVICES)
                assert not session.cost
                assert str(session.cost) == ""
        assert events.closed == bm.Cost()
        assert "cost" not in caplog.text

    run(test)


def test_cost_of_sync_session_is_available_after_its_end():
    system = Paid()
    system.seconds_to_start = system.seconds_to_stop = 0
    session = bm.Session(system)
    assert not session.cost
    with session:
        session.start(1, services=SERVICES)
        assert session.cost.dollars == pytest.approx(60 * SECOND)
    assert str(session.cost).startswith("1 × c7i.xlarge spot, ")
    assert session.cost == session.cost


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (bm.Cost(), ""),
        (
            bm.Cost(0.05, groups=(bm.CostGroup(3, "c7i.xlarge spot", 840),)),
            "3 × c7i.xlarge spot, 14 min, about $0.05",
        ),
        (bm.Cost(0.004, groups=(bm.CostGroup(1, "", 45.4),)), "1 machine, 45 s, less than $0.01"),
        (
            bm.Cost(1234.5, groups=(bm.CostGroup(20, "", 7500),)),
            "20 machines, 2 h 5 min, about $1,234",
        ),
        (
            bm.Cost(2.5, groups=(bm.CostGroup(3, "a spot", 840), bm.CostGroup(1, "b", 60))),
            "3 × a spot, 14 min; 1 × b, 60 s; about $2.50 in all",
        ),
        (bm.Cost(0.0, True, (bm.CostGroup(2, "a", 840),)), "2 × a, 14 min, price unknown"),
        (
            bm.Cost(0.5, True, (bm.CostGroup(2, "a", 840), bm.CostGroup(1, "b", 840))),
            "2 × a, 14 min; 1 × b, 14 min; about $0.50 for those whose price is known",
        ),
    ],
)
def test_cost_is_printed_as_readable_text(cost, text):
    assert str(cost) == text
    assert bool(cost) == bool(text)


def test_unknown_price_is_reported(events):
    class UnknownPrice(Paid):
        price = None
        details = {}  # noqa: RUF012

    async def test():
        async with bm.AsyncSession(UnknownPrice(), plugins=[events]) as session:
            await session.start(2, services=SERVICES)
            assert session.cost.is_partial
        assert str(events.closed) == "2 machines, 50 s, price unknown"

    run(test)


# -- the limit ------------------------------------------------------------------------


def test_session_warns_and_then_stops_all_machines_before_cost_limit(events, caplog):
    async def test():
        async with bm.AsyncSession(Paid, plugins=[events], max_session_cost=2.0) as session:
            first, second = await session.start(2, services=SERVICES)
            began = trio.current_time()
            await first.wait(bm.State.STOPPED)
            # A thousand seconds for two machines, minus the time to start and to stop them.
            assert trio.current_time() - began == pytest.approx(1000 - 20 - 60, abs=2)
            assert second.state is bm.State.STOPPED
            with pytest.raises(
                bm.MachineStopped, match=r"max_session_cost, \$2.00, is reached"
            ) as e:
                await second.call("Echo.echo", 1)
            assert e.value.reason is bm.StopReason.COST
            [(when, warning)] = events.warnings
            assert when - began == pytest.approx(800 - 20 - 60, abs=2)
            assert warning.limit == 2.0
            assert warning.dollars == pytest.approx(2 * 740 * SECOND, abs=0.01)
            assert warning.seconds == pytest.approx(200, abs=2)
            with pytest.raises(bm.StartError, match="no more machines are started: max_session_co"):
                await session.start(1, services=SERVICES)
            assert len(session.system.requests) == 1
        assert len(session.system.freed) == 2
        assert 1.8 < events.closed.dollars <= 2.0
        assert (
            "$1.48 of $2.00 (max_session_cost) are spent: at this rate all machines" in caplog.text
        )
        assert "all machines are stopped: max_session_cost, $2.00, is reached" in caplog.messages

    run(test)  # fmt: skip


def test_cost_warning_comes_at_least_one_minute_before_stop(events):
    async def test():
        # 80 % would be 20 seconds before the end.
        async with bm.AsyncSession(Paid, plugins=[events], max_session_cost=1.0) as session:
            machines = await session.start(5, services=SERVICES)
            await machines[0].wait(bm.State.STOPPED)
            [(when, warning)] = events.warnings
            assert trio.current_time() - when == pytest.approx(60, abs=2)
            assert warning.seconds == pytest.approx(60, abs=2)

    run(test)


def test_stopped_machine_leaves_more_budget_for_others(events):
    async def test():
        async with bm.AsyncSession(Paid, plugins=[events], max_session_cost=1.0) as session:
            *_, last = await session.start(2, services=SERVICES)
            await trio.sleep(80)
            for machine in session.machines[:1]:
                await machine.shutdown()
            assert last.state is bm.State.RUNNING
            await last.wait(bm.State.STOPPED)
            assert trio.current_time() == pytest.approx(1000 - 130 - 60, abs=10)

    run(test)


def test_system_receives_remaining_budget_and_starts_run_one_by_one():
    async def test():
        async with bm.AsyncSession(Paid, max_session_cost=2.0) as session:
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(lambda: session.start(2, services=SERVICES))
            (_, first), (_, second) = session.system.requests
            assert first == 2.0
            # Two machines have cost 20 seconds, and cost 60 more until they are stopped.
            assert second == pytest.approx(2.0 - 2 * 80 * SECOND, abs=0.01)
        async with bm.AsyncSession(Paid) as session:
            await session.start(1, services=SERVICES)
            assert session.system.requests == [(1, None)]

    run(test)


def test_start_in_progress_fails_when_cost_limit_is_reached():
    async def test():
        async with bm.AsyncSession(Paid, max_session_cost=2.0) as session:
            session.system.seconds_to_stop = 0
            first, _ = await session.start(2, services=SERVICES)
            await trio.sleep_until(began := trio.current_time() + 905)
            session.system.seconds_to_start = 50
            with pytest.raises(bm.StartError, match=r"max_session_cost, \$2.00, is reached"):
                await session.start(1, services=SERVICES)
            assert first.state is bm.State.STOPPED
            assert trio.current_time() >= began + 50  # the start was not refused at once
        assert len(session.system.freed) == 3

    run(test)


def test_machines_that_exceed_cost_limit_are_stopped_at_once(events):
    async def test():
        async with bm.AsyncSession(Paid, plugins=[events], max_session_cost=0.1) as session:
            with pytest.raises(bm.StartError, match=r"max_session_cost, \$0.10, is reached"):
                await session.start(5, services=SERVICES)
            assert len(events.warnings) == 1
        assert len(session.system.freed) == 5

    run(test)


def test_no_machine_is_started_after_cost_limit_is_spent():
    async def test():
        async with bm.AsyncSession(Paid, max_session_cost=0.1) as session:
            [machine] = await session.start(1, services=SERVICES)
            await machine.shutdown()
            session.system.price = 10 * PRICE
            with pytest.raises(bm.StartError):
                await session.start(1, services=SERVICES)
            assert len(session.system.requests) == 2
            with pytest.raises(bm.StartError, match="no more machines are started"):
                await session.start(1, services=SERVICES)
            assert len(session.system.requests) == 2

    run(test)


def test_machines_of_unknown_price_are_stopped_if_cost_limit_is_set(events):
    class UnknownPrice(Paid):
        price = None

    async def test():
        async with bm.AsyncSession(UnknownPrice, plugins=[events], max_session_cost=9.0) as session:
            with pytest.raises(bm.StartError, match="the price of c7i.xlarge spot is not known"):
                await session.start(1, services=SERVICES)
        assert len(session.system.freed) == 1
        assert events.warnings == []

    run(test)


def test_cost_limit_can_be_set_by_environment_variable(monkeypatch):
    monkeypatch.setenv("BIGMACHINE_PAID_MAX_SESSION_COST", "2.5")
    assert bm.AsyncSession(Paid).system.max_session_cost == 2.5
    assert InProcessSystem().max_session_cost is None
