"""Each notice that a provider gives to a machine reaches the driver once."""

from __future__ import annotations

import datetime
import logging

import pytest
import trio

import bigmachine as bm
from tests.support.services import Echo
from tests.support.waiting import eventually
from tests.unit.machine.conftest import KitSystem
from tests.unit.machine.test_lifecycle import peer_session_of

SERVICES = {"Echo": Echo()}
NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
INTERRUPTION = bm.Notice("interruption", "the provider takes it back", NOON)
REBALANCE = bm.Notice("rebalance", "the provider may take it back")


class Observer:
    def __init__(self) -> None:
        self.events: list[bm.MachineNotice] = []

    @bm.hookimpl
    def event(self, event):
        if isinstance(event, bm.MachineNotice):
            self.events.append(event)

    async def until(self, count: int) -> None:
        await eventually(lambda: len(self.events) >= count, within=300, every=1)


def test_notice_is_event_and_warning_and_is_kept_by_its_machine(run, caplog):
    async def test(kit):
        observer = Observer()
        async with kit.session(plugins=[observer]) as session:
            one, other = await session.start(2, services=SERVICES)
            kit.system.give_notice(other, INTERRUPTION)
            await observer.until(1)
            assert observer.events == [
                bm.MachineNotice(other.name, "interruption", "the provider takes it back", NOON)
            ]
            assert (one.notices, other.notices) == ([], [INTERRUPTION])
            assert other.state == bm.State.RUNNING
            assert await other.call("Echo.echo", 1) == 1

    run(test)
    message = "m1: interruption: the provider takes it back at 2026-03-01 12:00:00 UTC"
    assert message in [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_each_notice_arrives_once_despite_lost_connections(run):
    async def test(kit):
        observer = Observer()
        async with kit.session(plugins=[observer]) as session:
            [machine] = await session.start(1, services=SERVICES)
            for number in range(5):
                kit.system.give_notice(machine, bm.Notice("test", f"before {number}"))
                kit.system.reset(machine)  # while the notice may be in transit
                kit.system.give_notice(machine, bm.Notice("test", f"after {number}"))
                await observer.until(2 * number + 2)
            kit.system.partition(machine)
            kit.system.give_notice(machine, REBALANCE)
            await trio.sleep(kit.timings.timeout / 2)
            kit.system.reset(machine)
            kit.system.heal(machine)
            await observer.until(11)
            await trio.sleep(kit.timings.timeout)
        details = [f"{when} {number}" for number in range(5) for when in ("before", "after")]
        assert [event.detail for event in observer.events] == [*details, REBALANCE.detail]

    run(test)


def test_repeated_notice_counts_once_and_changed_notice_is_new(run):
    async def test(kit):
        observer = Observer()
        async with kit.session(plugins=[observer]) as session:
            [machine] = await session.start(1, services=SERVICES)
            later = bm.Notice(
                INTERRUPTION.kind, INTERRUPTION.detail, NOON + datetime.timedelta(minutes=5)
            )
            for notice in (INTERRUPTION, INTERRUPTION, REBALANCE, INTERRUPTION, later, REBALANCE):
                kit.system.give_notice(machine, notice)
                await trio.sleep(10)
            assert machine.notices == [INTERRUPTION, REBALANCE, later]
        assert len(observer.events) == 3

    run(test)


class FailsRepeatedly(KitSystem):
    """Its hook raises several times, and continues when it is restarted."""

    async def notices(self):
        if trio.current_time() < 100:
            raise OSError("the provider is silent")
        yield REBALANCE
        if trio.current_time() < 300:
            raise OSError("the provider is silent again")
        yield "no notice at all"
        yield INTERRUPTION


def test_failed_notices_hook_is_logged_and_restarted(run, caplog):
    async def test(kit):
        kit.system = FailsRepeatedly()
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            await trio.sleep(1000)
            assert machine.notices == [REBALANCE, INTERRUPTION]
            assert machine.state == bm.State.RUNNING
            assert await machine.call("Echo.echo", 1) == 1

    run(test)
    errors = [r for r in caplog.records if r.levelno == logging.ERROR]
    # Each error is logged once, not at each attempt.
    assert [str(r.exc_info[1]) for r in errors[:2]] == [
        "the provider is silent",
        "the provider is silent again",
    ]
    assert "'no notice at all', which is not a Notice" in errors[2].getMessage()
    assert len(errors) == 3


class WithoutNotices(KitSystem):
    notices = bm.System.notices


def test_driver_asks_for_no_notices_if_system_gives_none(run, caplog):
    async def test(kit):
        kit.system = WithoutNotices()
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            await trio.sleep(100)
            assert machine.notices == []
            # If the driver had asked, this error would be in the log.
            with pytest.raises(bm.NotSupportedError, match="no notices"):
                await machine.call("Supervisor.notices", 0)

    run(test)
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_connected_machine_is_not_asked_for_notices(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            async with peer_session_of(session) as other:
                dialled = await other.connect(machine.addr)
                kit.system.give_notice(machine, INTERRUPTION)
                await trio.sleep(100)
                assert (machine.notices, dialled.notices) == ([INTERRUPTION], [])

    run(test)


@pytest.mark.parametrize(
    ("fault", "message"), [("kill", "nothing listens"), ("partition", "it was silent for")]
)
def test_unexplained_loss_after_notice_is_interrupted(run, fault, message):
    async def test(kit):
        kit.system.reports_ended_machines = False
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            kit.system.give_notice(machine, INTERRUPTION)
            kit.system.give_notice(machine, REBALANCE)
            await trio.sleep(10)
            getattr(kit.system, fault)(machine)
            await machine.wait(bm.State.STOPPED)
            assert machine.error.reason is bm.StopReason.INTERRUPTED
            assert message in str(machine.error)
            assert f"there was notice: {INTERRUPTION}" in str(machine.error)
            with pytest.raises(bm.MachineStopped, match="there was notice") as caught:
                await machine.call("Echo.echo", 1)
            assert caught.value.reason is bm.StopReason.INTERRUPTED

    run(test)


def test_unexplained_loss_without_interruption_notice_is_not_interrupted(run):
    async def test(kit):
        kit.system.reports_ended_machines = False
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            kit.system.give_notice(machine, REBALANCE)
            await trio.sleep(10)
            kit.system.kill(machine)
            await machine.wait(bm.State.STOPPED)
            assert machine.error.reason is bm.StopReason.EXITED
            assert "notice" not in str(machine.error)

    run(test)


@pytest.mark.parametrize("notice", [None, REBALANCE, INTERRUPTION])
def test_instance_that_is_gone_after_notice_was_interrupted(run, notice):
    class KnowsNoMore(KitSystem):
        async def keepalive_failed(self, instance):
            gone = await super().keepalive_failed(instance)
            return gone and bm.Termination(bm.StopReason.GONE, "its VM is gone")

    async def test(kit):
        kit.system = KnowsNoMore()
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            if notice:
                kit.system.give_notice(machine, notice)
            await trio.sleep(10)
            kit.system.kill(machine)
            await machine.wait(bm.State.STOPPED)
            is_interrupted = machine.error.reason is bm.StopReason.INTERRUPTED
            assert is_interrupted == (notice is INTERRUPTION)
            assert "m0 stopped: its VM is gone" in str(machine.error)
            assert (f"there was notice: {notice}" in str(machine.error)) == is_interrupted

    run(test)


def test_reason_from_provider_takes_precedence_over_earlier_notice(run):
    class ReportsOutOfMemory(KitSystem):
        async def keepalive_failed(self, instance):
            gone = await super().keepalive_failed(instance)
            return gone and bm.Termination(bm.StopReason.OOM, "the kernel killed it")

    async def test(kit):
        kit.system = ReportsOutOfMemory()
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            kit.system.give_notice(machine, INTERRUPTION)
            await trio.sleep(10)
            kit.system.kill(machine)
            await machine.wait(bm.State.STOPPED)
            assert machine.error.reason is bm.StopReason.OOM
            assert str(machine.error) == "m0 stopped: the kernel killed it"

    run(test)


def test_machine_killed_after_interruption_notice_is_interrupted(run):
    async def test(kit):
        async with kit.session() as session:
            one, other = await session.start(2, services=SERVICES)
            kit.system.give_notice(one, INTERRUPTION)
            for machine in (one, other):
                kit.system.kill(machine)
                await machine.wait(bm.State.STOPPED)
            assert one.error.reason is bm.StopReason.INTERRUPTED
            assert other.error.reason is bm.StopReason.EXITED

    run(test)


def test_notice_time_without_time_zone_is_refused():
    with pytest.raises(bm.UsageError, match="no time zone"):
        bm.Notice("interruption", "the provider takes it back", datetime.datetime(2026, 3, 1))
