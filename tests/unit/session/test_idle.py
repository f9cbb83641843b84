"""An idle session ends its machines, after a warning; no work of any kind is taken for idleness."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trio

import bigmachine as bm
from bigmachine.testing import InProcessSystem
from bigmachine.testing.in_process._system import InProcessOptions
from tests.support.clocks import jumping_clock

TIMEOUT = 60.0
LATE = TIMEOUT / 20 + 0.1  # how late the end of work may be noticed, at most
LONGER = TIMEOUT + 2 * LATE
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class IdleOptions(InProcessOptions):
    idle_timeout: float | None = bm.option(None, help="When idle machines end.", minimum=10)


class Idle(InProcessSystem):
    """Machines that cost money, and end when they are idle."""

    name = "idle"
    Options = IdleOptions
    is_billed = True
    seconds_to_start = 0.0

    async def start(self, count: int, request: bm.LaunchRequest) -> Sequence[bm.Instance]:
        await trio.sleep(self.seconds_to_start)
        made = await super().start(count, request)
        return [replace(i, cost_per_hour=3.6, details={"market": "spot"}) for i in made]


class Work:
    """Works in each way that there is, until `RELEASED` is set, or its caller cancels it."""

    def setup(self, session: bm.PeerSession) -> None:
        self.session = session

    def quick(self) -> int:
        return 1

    def thread(self) -> None:
        RELEASED.wait(60)

    @bm.concurrent
    def concurrent(self) -> None:
        RELEASED.wait(60)

    @bm.parallel
    def parallel(self, fifo: str) -> None:
        with open(fifo) as file:
            file.read()

    async def loop(self) -> None:
        await trio.to_thread.run_sync(RELEASED.wait, 60)

    async def cleans_up(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await self.loop()

    def peer(self, addr: str) -> None:
        self.session.connect(addr).call("Work.thread")

    def leave_a_stream(self, addr: str) -> None:
        stream = self.session.connect(addr).stream("Work.endless")
        next(stream)
        STREAMS.append(stream)

    def endless(self):
        while True:
            yield bytes(1 << 20)

    def one(self):
        yield from range(1)

    def items(self, items):
        for _ in items:
            pass

    def teardown(self) -> None:
        TORN_DOWN.append(1)


RELEASED = threading.Event()
STREAMS: list[Any] = []
TORN_DOWN: list[int] = []
SERVICES = {"Work": Work()}


class Events:
    """An observer that records the warnings, and their times."""

    def __init__(self) -> None:
        self.warnings: list[tuple[float, bm.IdleWarning]] = []

    @bm.hookimpl
    def event(self, event: bm.Event) -> None:
        if isinstance(event, bm.IdleWarning):
            self.warnings.append((trio.current_time(), event))


@pytest.fixture
def events() -> Events:
    RELEASED.clear()
    STREAMS.clear()
    TORN_DOWN.clear()
    return Events()


def run(test: Any) -> None:
    trio.run(test, clock=jumping_clock(0.004))


async def stopped(machine: bm.AsyncMachine) -> float:
    """Wait until a machine has stopped because of idleness; return how long that took."""
    began = trio.current_time()
    with trio.fail_after(HOUR):
        await machine.wait(bm.State.STOPPED)
    assert machine.error.reason is bm.StopReason.IDLE
    return trio.current_time() - began


# -- the end --------------------------------------------------------------------------


def test_idle_session_warns_then_ends_its_machines_and_may_start_others(events, caplog):
    async def test():
        async with bm.AsyncSession(Idle, plugins=[events], idle_timeout=1800.0) as session:
            await trio.sleep(2000)  # without machines there is nothing to end
            first, second = await session.start(2, services=SERVICES)
            began = trio.current_time()
            assert 1800 <= await stopped(first) <= 1861
            assert second.state is bm.State.STOPPED
            [(when, warning)] = events.warnings
            assert trio.current_time() - when == pytest.approx(360, abs=1)
            assert 1440 <= when - began <= 1501
            assert (warning.seconds, warning.remaining) == pytest.approx((1440, 360), abs=1)
            assert warning.cost.groups[0].count == 2
            assert "idle for 24 min: they are stopped in 6 min (idle_timeout)" in caplog.text
            assert "cost so far: 2 × spot, 2" in caplog.text
            with pytest.raises(bm.MachineStopped, match=r"idle for 30 min \(idle_timeout\)") as e:
                await second.call("Work.quick")
            assert "start machines again" in str(e.value)
            assert "all machines are stopped: the session was idle for 30 min" in caplog.text
            await first.shutdown()
            assert TORN_DOWN, "they were not asked to end"
            [third] = await session.start(1, services=SERVICES)
            assert await third.call("Work.quick") == 1
            assert session.machines == [third]

    run(test)


def test_calls_put_the_end_off_and_questions_about_the_machine_do_not(events):
    async def test():
        async with bm.AsyncSession(Idle, plugins=[events], idle_timeout=TIMEOUT) as session:
            idle, asked = await session.start(2, services=SERVICES)
            for _ in range(4):
                await trio.sleep(TIMEOUT - 1)
                await asked.call("Work.quick")
            assert idle.state is bm.State.RUNNING
            async with trio.open_nursery() as nursery:

                async def ask():
                    while asked.state is bm.State.RUNNING:
                        await asked.memory()
                        await trio.sleep(5)

                nursery.start_soon(ask)
                assert TIMEOUT <= await stopped(idle) <= TIMEOUT + LATE
                nursery.cancel_scope.cancel()

    run(test)


# -- what is work ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "way",
    [
        *("thread", "concurrent", "loop", "peer", "iterator"),
        pytest.param("parallel", marks=pytest.mark.long),
    ],
)
def test_machines_are_kept_while_a_call_is_in_flight(events, way, tmp_path):
    os.mkfifo(fifo := tmp_path / "fifo")

    async def test():
        async with bm.AsyncSession(Idle, idle_timeout=TIMEOUT) as session:
            machine, other = await session.start(2, services=SERVICES)

            async def call():
                if way == "iterator":
                    await machine.call("Work.items", _slow_items())
                else:
                    args = {"parallel": [str(fifo)], "peer": [other.addr]}.get(way, [])
                    await machine.call(f"Work.{way}", *args)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.sleep(LONGER)
                assert machine.state is other.state is bm.State.RUNNING
                if way == "parallel":
                    fifo.write_text("")
                RELEASED.set()

    run(test)


async def _slow_items():
    while not RELEASED.is_set():
        yield 1
        await trio.sleep(TIMEOUT / 2)


@pytest.mark.parametrize("method", ["thread", "concurrent", "cleans_up"])
def test_machines_are_kept_while_a_cancelled_method_still_runs(events, method):
    async def test():
        async with bm.AsyncSession(Idle, idle_timeout=TIMEOUT) as session:
            [machine] = await session.start(1, services=SERVICES)
            with trio.move_on_after(1):
                await machine.call(f"Work.{method}")
            await trio.sleep(LONGER)
            assert machine.state is bm.State.RUNNING
            RELEASED.set()
            assert TIMEOUT - LATE <= await stopped(machine) <= TIMEOUT + LATE

    run(test)


def test_machines_are_kept_while_a_stream_is_open(events):
    async def test():
        async with bm.AsyncSession(Idle, idle_timeout=TIMEOUT) as session:
            machine, other = await session.start(2, services=SERVICES)
            async with machine.stream("Work.endless") as unread:
                await anext(unread)
                await trio.sleep(LONGER)
                assert machine.state is bm.State.RUNNING
            async for _ in machine.stream("Work.one"):  # it has ended there at once
                await trio.sleep(LONGER)
                assert machine.state is bm.State.RUNNING
            await machine.call("Work.leave_a_stream", other.addr)
            await trio.sleep(LONGER)
            assert machine.state is bm.State.RUNNING
            await trio.to_thread.run_sync(STREAMS[0].close)
            assert TIMEOUT - LATE <= await stopped(machine) <= TIMEOUT + LATE

    run(test)


def test_machines_are_kept_while_others_start(events):
    async def test():
        async with bm.AsyncSession(Idle, idle_timeout=TIMEOUT) as session:
            [machine] = await session.start(1, services=SERVICES)
            session.system.seconds_to_start = 3 * TIMEOUT
            await session.start(1, services=SERVICES)
            assert machine.state is bm.State.RUNNING
            assert TIMEOUT - LATE <= await stopped(machine) <= TIMEOUT + LATE

    run(test)


def test_machine_that_does_not_answer_is_not_taken_for_idle(events):
    async def test():
        async with bm.AsyncSession(Idle, idle_timeout=TIMEOUT) as session:
            [machine] = await session.start(1, services=SERVICES)
            session.system.partition(machine)
            await machine.wait(bm.State.STOPPED)
            # At the same time, it ends itself, and the driver's keepalives give it up.
            assert machine.error.reason in (bm.StopReason.KEEPALIVE, bm.StopReason.EXITED)

    run(test)


# -- without the option ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "is_billed", "warnings"),
    [
        ("notebook", True, 2),
        pytest.param("notebook", False, 0, marks=pytest.mark.long),
        ("", True, 0),
    ],
)
def test_only_a_notebooks_idle_session_that_costs_money_warns_each_hour(
    events, monkeypatch, caplog, where, is_billed, warnings
):
    if where:
        monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    monkeypatch.setattr(Idle, "is_billed", is_billed)

    async def test():
        async with bm.AsyncSession(Idle, plugins=[events]) as session:
            [machine] = await session.start(1, services=SERVICES)
            await trio.sleep((warnings or 1) * HOUR + 130)
            assert machine.state is bm.State.RUNNING
            assert [w.seconds for _, w in events.warnings] == pytest.approx(
                [HOUR, 2 * HOUR][:warnings], abs=1
            )
            if warnings:
                assert "idle for 60 min; cost so far: 1 × spot, 6" in caplog.text
                assert "call session.shutdown(); to have idle machines end" in caplog.text

    run(test)


def test_invalid_idle_timeout_is_refused_before_anything_is_started():
    with pytest.raises(bm.UsageError, match="idle_timeout: must be at least 10, not 1.0"):
        bm.AsyncSession(Idle, idle_timeout=1.0)

    class Unchecked(InProcessSystem):
        idle_timeout = -1.0

    with pytest.raises(bm.UsageError, match="idle_timeout: must be more than 0 seconds"):
        bm.AsyncSession(Unchecked)
