"""The life of a machine on a system in this process: start, calls, keepalives, end."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import traceback
from dataclasses import replace

import pytest
import trio
import trio.testing

import bigmachine as bm
from bigmachine.session._peers import AsyncPeerSession
from bigmachine.testing import InProcessSystem
from bigmachine.worker._supervisor import Supervisor
from tests.support.services import Echo, Flaky
from tests.support.waiting import eventually


class NoWay(bm.TransportError):
    """What a method raises whose own call to another machine fails."""


class Failing(Echo):
    def __init__(self) -> None:
        self.calls = 0

    async def fail(self, error: Exception) -> None:
        self.calls += 1
        raise error

    async def count(self) -> int:
        return self.calls


class BadSetup:
    def setup(self, session: bm.PeerSession) -> None:
        raise RuntimeError("no data set here")


class SlowSetup:
    async def setup(self, session: bm.AsyncPeerSession) -> None:
        await trio.sleep(450)  # longer than the boot timeout


SERVICES = {"Echo": Echo()}


@pytest.mark.long
def test_machine_runs_for_an_hour_and_keepalive_reply_times_are_kept(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            began = trio.current_time()
            await trio.sleep(3600)
            assert trio.current_time() - began >= 3600
            assert machine.state == bm.State.RUNNING
            assert len(machine.keepalive_reply_times) >= 59
            assert await machine.call("Echo.echo", 1) == 1

    run(test)


def test_states_only_advance_and_observers_receive_each(run):
    class Observer:
        def __init__(self):
            self.states = []

        @bm.hookimpl
        def event(self, event):
            if isinstance(event, bm.MachineChanged):
                self.states.append(event.state)

    async def test(kit):
        observer = Observer()
        async with kit.session(plugins=[observer]) as session:
            [machine] = await session.start(1, services=SERVICES, wait=False)
            assert machine.state == bm.State.UNSTARTED
            await machine.wait(bm.State.STARTING)
            await machine.wait(bm.State.RUNNING)
            await machine.wait(bm.State.STARTING)  # this state has passed, so it returns at once
            await machine.shutdown()
            assert machine.state == bm.State.STOPPED
        assert observer.states == [bm.State.STARTING, bm.State.RUNNING, bm.State.STOPPED]

    run(test)


def test_call_made_before_running_waits_until_machine_runs(run):
    async def test(kit):
        async with kit.session() as session:
            services = {"Slow": SlowSetup(), "Echo": Echo()}
            [machine] = await session.start(1, services=services, wait=False)
            assert await machine.call("Echo.echo", 7) == 7
            assert trio.current_time() >= 450

    run(test)


def test_cancelled_start_leaves_no_machine(run):
    async def test(kit):
        async with kit.session() as session:
            with trio.move_on_after(100):
                await session.start(3, services={"Slow": SlowSetup()})
            assert session.machines == []
            await eventually(lambda: len(kit.system.stopped) == 3, within=300, every=1)

    run(test)


def test_call_on_stopped_machine_fails_at_once_with_reason(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            await machine.shutdown()
            with pytest.raises(bm.MachineStopped, match="it was shut down") as caught:
                await machine.call("Echo.echo", 1)
            assert caught.value.reason is bm.StopReason.SHUTDOWN
            assert caught.value.machine == machine.name

    run(test)


def test_cancel_ends_pending_calls_at_once_and_frees_machine(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            began = trio.current_time()

            async def call():
                with pytest.raises(bm.MachineStopped) as caught:
                    await machine.call("Echo.forever")
                assert caught.value.reason is bm.StopReason.CANCELLED

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.testing.wait_all_tasks_blocked()
                machine.cancel()
            assert trio.current_time() == began
            await machine.shutdown()
            assert kit.system.stopped == [machine.instance.name]

    run(test)


def test_killed_machine_ends_pending_calls_with_reason_of_system(run):
    async def test(kit):
        async with kit.session() as session:
            machine, other = await session.start(2, services=SERVICES)

            async def call():
                with pytest.raises(
                    bm.MachineStopped, match="killed by InProcessSystem.kill"
                ) as caught:
                    await machine.call("Echo.forever")
                assert caught.value.reason is bm.StopReason.EXITED

            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.testing.wait_all_tasks_blocked()
                kit.system.kill(machine)
            # This system's `tail` never ends: its last lines are waited for, but only so long.
            assert trio.current_time() - began <= 1
            assert machine.state == bm.State.STOPPED
            assert await other.call("Echo.echo", 1) == 1
            assert session.machines == [other]

    run(test)


def test_machine_whose_port_refuses_stops_at_once_without_help_of_system(run):
    async def test(kit):
        kit.system.reports_ended_machines = False
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            kit.system.kill(machine)
            await machine.wait(bm.State.STOPPED)
            assert trio.current_time() < kit.timings.period
            assert machine.error.reason is bm.StopReason.EXITED

    run(test)


def test_broken_connection_of_running_machine_is_reopened(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)

            async def call():
                with pytest.raises(bm.TransportError) as caught:
                    await machine.call("Echo.forever")
                assert caught.value.temporary

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.testing.wait_all_tasks_blocked()
                kit.system.reset(machine)
            assert machine.state == bm.State.RUNNING
            assert await machine.call("Echo.echo", 1) == 1

    run(test)


def test_retry_repeats_call_only_after_temporary_errors(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services={"A": Flaky(), "B": Failing()})
            Flaky.lose_connection = staticmethod(functools.partial(kit.system.reset, machine))
            with pytest.raises(bm.TransportError):
                await machine.call("A.flaky", 1)
            retrying = machine.with_options(retry=True)
            assert await retrying.call("A.flaky", 4) == 5
            # What the method itself raises is its result, even if it is temporary.
            for error in (ValueError("for good"), NoWay("no way to m9")):
                with pytest.raises(type(error), match=str(error)):
                    await retrying.call("B.fail", error)
            assert await machine.call("B.count") == 2

    run(test)


def test_retry_ends_when_machine_stops(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services={"Flaky": Flaky()})
            Flaky.lose_connection = staticmethod(functools.partial(kit.system.reset, machine))

            async def call():
                with pytest.raises(bm.MachineStopped):
                    await machine.with_options(retry=True).call("Flaky.flaky", 10**9)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.sleep(100)
                kit.system.kill(machine)

    run(test)


def test_silent_machine_is_stopped_after_timeout(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            kit.system.reports_ended_machines = False
            kit.system.partition(machine)
            silent_since = trio.current_time()

            with pytest.raises(bm.MachineStopped) as caught:
                await machine.call("Echo.forever")
            assert caught.value.reason is bm.StopReason.KEEPALIVE
            timings = kit.timings
            silence = trio.current_time() - silent_since
            assert timings.timeout <= silence <= timings.timeout + timings.period
            assert "keepalive timeout 120 s, rpc timeout 10 s" in str(machine.error)

    run(test)


def test_silent_machine_that_is_busy_is_stopped_after_six_timeouts(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            kit.system.reports_ended_machines = False
            kit.system.has_busy_machines = True
            kit.system.partition(machine)
            silent_since = trio.current_time()
            with pytest.raises(bm.MachineStopped):
                await machine.call("Echo.forever")
            silence = trio.current_time() - silent_since
            assert 6 * kit.timings.timeout <= silence <= 6 * kit.timings.timeout + 60

    run(test)


def test_machine_without_keepalives_ends_itself(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            kit.system.partition(machine)
            system, within = kit.system, 3 * kit.timings.timeout
            await eventually(lambda: system.exited, within=within, every=1)
            assert kit.system.exited == {machine.name: 1}

    run(test)


def test_machine_survives_partition_shorter_than_timeout(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            kit.system.partition(machine)
            await trio.sleep(kit.timings.timeout / 2)
            kit.system.heal(machine)
            assert await machine.call("Echo.echo", 1) == 1
            await trio.sleep(10 * kit.timings.timeout)
            assert machine.state == bm.State.RUNNING

    run(test)


def test_exception_in_setup_fails_start_with_its_traceback(run):
    async def test(kit):
        async with kit.session() as session:
            with pytest.raises(bm.StartError, match="no data set here") as caught:
                await session.start(2, services={"Bad": BadSetup()})
            error = caught.value.__cause__
            assert isinstance(error, bm.BootError)
            assert error.phase == "service 'Bad'"
            assert "in setup" in str(error)
            told = "".join(traceback.format_exception(caught.value))
            assert told.count("in setup") == 1
            assert session.machines == []
        assert len(kit.system.stopped) == 2

    run(test)


def test_call_on_machine_that_did_not_boot_says_so(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services={"Bad": BadSetup()}, wait=False)
            with pytest.raises(bm.MachineStopped, match="did not boot") as caught:
                await machine.call("Bad.anything")
            assert caught.value.reason is bm.StopReason.BOOT
            assert isinstance(caught.value.__cause__, bm.BootError)

    run(test)


class Unreachable:
    """Makes new machines unreachable, so that they never answer."""

    def __init__(self, system):
        self.system = system

    @bm.hookimpl(wrapper=True)
    def start(self):
        starting = yield

        async def start():
            instances = await starting
            for instance in instances:
                self.system.partition(instance)
            return instances

        return start()


def test_boot_output_is_hidden_until_several_boots_have_failed(run, capsys, caplog):
    async def test(kit):
        kit.system.boot_lines = (b"fsck: clean", b"kernel: no such disk")
        async with kit.session() as session:
            await session.start(1, services=SERVICES)
        assert capsys.readouterr().err == ""
        async with kit.session(plugins=[Unreachable(kit.system)]) as session:
            for _ in range(3):
                with pytest.raises(bm.StartError, match="kernel: no such disk") as caught:
                    await session.start(1, services=SERVICES)
                assert caught.value.__cause__.console == "fsck: clean\nkernel: no such disk"
            assert "3 boots failed in a row" in caplog.text
            with pytest.raises(bm.StartError):
                await session.start(1, services=SERVICES)
        assert capsys.readouterr().err == "m3: fsck: clean\nm3: kernel: no such disk\n"

    run(test)


def test_failed_connections_are_no_failed_boots(run, caplog):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            await machine.shutdown()
            for _ in range(4):
                with pytest.raises(bm.BigmachineError):
                    await session.connect(machine.addr, timeout=1)
        assert "boots failed" not in caplog.text

    run(test)


def test_boot_error_has_harmless_and_bounded_output(run):
    async def test(kit):
        kit.system.boot_lines = (b"x" * 200_000, b"\x1b]0;title\x07\xff last")
        async with kit.session(plugins=[Unreachable(kit.system)]) as session:
            with pytest.raises(bm.StartError) as caught:
                await session.start(1, services=SERVICES)
        long, *_, last = caught.value.__cause__.console.splitlines()
        assert long.startswith("xxx")
        assert long.endswith("x…")
        assert last == "\\xff last"
        assert len(str(caught.value)) < 10_000

    run(test)


def test_boot_output_is_shown_at_debug_log_level(run, capsys, caplog):
    async def test(kit):
        kit.system.boot_lines = (b"fsck: clean",)
        async with kit.session() as session:
            await session.start(1, services=SERVICES)
        assert capsys.readouterr().err == "m0: fsck: clean\n"

    with caplog.at_level(logging.DEBUG, logger="bigmachine.boot"):
        run(test)


def test_machine_that_never_answers_is_start_error_after_boot_timeout(run):
    async def test(kit):
        kit.system.boot_timeout = 42.0
        async with kit.session(plugins=[Unreachable(kit.system)]) as session:
            with pytest.raises(
                bm.StartError, match="phase connect: .* 42 s; the last attempt: no answer in"
            ):
                await session.start(1, services=SERVICES)

    run(test)


def test_provider_that_never_answers_is_start_error_after_start_timeout(run):
    class Busy:
        cancelled = False

        @bm.hookimpl(wrapper=True)
        def start(self):
            starting = yield

            async def start():
                try:
                    await trio.sleep_forever()
                finally:
                    starting.close()
                    self.cancelled = True

            return start()

    async def test(kit):
        busy = Busy()
        kit.system.start_timeout = 42.0
        async with kit.session(plugins=[busy]) as session:
            with pytest.raises(bm.StartError, match="phase provision: .* after 42 s"):
                await session.start(1, services=SERVICES)
            assert busy.cancelled

    run(test)


def test_fewer_machines_than_requested_is_warning_and_event(run, caplog):
    class Observer:
        started = None

        @bm.hookimpl
        def event(self, event):
            if isinstance(event, bm.MachinesStarted):
                self.started = event

    async def test(kit):
        observer = Observer()
        kit.system.start_count = 2
        async with kit.session(plugins=[observer]) as session:
            machines = await session.start(3, services=SERVICES)
            assert len(machines) == 2
        assert (observer.started.requested, len(observer.started.instances)) == (3, 2)

    with caplog.at_level(logging.WARNING, logger="bigmachine"):
        run(test)
    assert "2 of the 3 machines" in caplog.text


def test_start_error_is_raised_if_no_machine_starts(run):
    async def test(kit):
        kit.system.start_count = 0
        async with kit.session() as session:
            with pytest.raises(bm.StartError, match="none of 3"):
                await session.start(3, services=SERVICES)

    run(test)


@pytest.mark.parametrize("n", [0, -1, True, 2.5, "3"])
def test_invalid_number_of_machines_is_refused(run, n):
    async def test(kit):
        async with kit.session() as session:
            with pytest.raises(bm.UsageError, match="must be 1 or more"):
                await session.start(n, services=SERVICES)

    run(test)


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ({}, "no services"),
        (
            {"Lock": threading.Lock()},
            r'services\["Lock"\] .a _thread.lock. can\'t be pickled.*make it in setup\(\)',
        ),
        ({"Supervisor": Echo()}, "taken by every machine"),
        ({"not an identifier": Echo()}, "must be an identifier"),
    ],
)
def test_invalid_services_are_refused_before_machines_are_started(run, services, message):
    async def test(kit):
        async with kit.session() as session:
            with pytest.raises(bm.UsageError, match=message):
                await session.start(1, services=services)
            assert await kit.system.instances() == []
        assert kit.system.stopped == []

    run(test)


def test_exception_in_session_block_stops_all_machines(run):
    async def test(kit):
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with kit.session() as session:
                machines = await session.start(3, services=SERVICES)
                1 / 0
        assert sorted(kit.system.stopped) == sorted(m.instance.name for m in machines)

    run(test)


def test_connect_reaches_only_machines_of_same_session(run):
    class Caller:
        async def setup(self, session):
            self.session = session

        async def call(self, addr, value):
            peer = await self.session.connect(addr)
            assert not peer.owned
            assert peer is await self.session.connect(addr)
            return await peer.call("Echo.echo", value)

        async def names(self):
            return self.session.name, [machine.name for machine in self.session.machines]

    async def test(kit):
        async with kit.session() as session:
            services = {"Echo": Echo(), "Caller": Caller()}
            one, other = await session.start(2, services=services)
            assert await one.call("Caller.call", other.addr, "hello") == "hello"
            assert await one.call("Caller.names") == (session.name, [other.name])
            with pytest.raises(bm.UsageError, match="another session"):
                await session.connect("https://m1:1#m1.other.bigmachine")
            with pytest.raises(bm.TransportError, match="nothing listens"):
                await session.connect(f"https://nowhere:1#m9.{session.name}")
            with pytest.raises(bm.UsageError, match="https://HOST:PORT#NAME"):
                await session.connect("m1:1")

    run(test)


def test_shutdown_of_connected_machine_only_disconnects(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            async with peer_session_of(session) as other:
                dialled = await other.connect(machine.addr)
                await dialled.shutdown()
                assert dialled.state == bm.State.STOPPED
            assert await machine.call("Echo.echo", 1) == 1

    run(test)


@contextlib.asynccontextmanager
async def peer_session_of(session):
    """Open a session like the one that a service's ``setup`` gets."""
    identity = session._authority.issue("guest")
    async with trio.open_nursery() as nursery:
        yield AsyncPeerSession(identity, system=session.system, nursery=nursery)
        nursery.cancel_scope.cancel()


class ResetsNextDial:
    """A dial that meets a process that is just being ended."""

    is_due = False

    @bm.hookimpl(wrapper=True)
    def http_client(self):
        client = yield
        connect = client.connect

        async def reset_if_due(host, port):
            if self.is_due:
                self.is_due = False
                raise ConnectionResetError("a process that is being ended")
            return await connect(host, port)

        client.connect = reset_if_due
        return client


def test_call_to_killed_machine_ends_alike_when_next_dial_meets_its_end(run):
    async def test(kit):
        kit.system.reports_ended_machines = False
        dials = ResetsNextDial()
        async with kit.session(plugins=[dials]) as session:
            [machine] = await session.start(1, services={"Nap": Nap()})

            async def call():
                with pytest.raises(bm.MachineStopped, match="nothing listens at its address"):
                    await machine.call("Nap.forever")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.testing.wait_all_tasks_blocked()
                dials.is_due = True
                kit.system.kill(machine)
            assert not dials.is_due

    run(test)


class Nap:
    async def forever(self):
        await trio.sleep_forever()


def test_connect_gives_up_machine_that_is_silent_for_timeout(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            async with peer_session_of(session) as other:
                kit.system.partition(machine)
                began = trio.current_time()
                with pytest.raises(bm.TransportError, match="did not answer within 3 s") as error:
                    await other.connect(machine.addr, timeout=3)
                assert trio.current_time() - began == 3
                assert error.value.addr == machine.addr
                await eventually(lambda: not other.machines)  # nobody waits for it any more
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(other.connect, machine.addr)
                    await eventually(lambda: other.machines)
                    with pytest.raises(bm.TransportError):
                        await other.connect(machine.addr, timeout=0)
                    kit.system.heal(machine)  # the first one still waits for it
                [peer] = other.machines
                assert await peer.call("Echo.echo", 1) == 1
                assert await other.connect(peer, timeout=0.5) is peer

    run(test)


@pytest.mark.parametrize("timeout", [-1, "3", True, float("nan")])
def test_connect_with_bad_timeout_is_refused(run, timeout):
    async def test(kit):
        async with kit.session() as session:
            with pytest.raises(bm.UsageError, match="timeout is a number of seconds"):
                await session.connect(f"https://nowhere:1#m9.{session.name}", timeout=timeout)

    run(test)


@pytest.mark.parametrize("addr", [5, None, b"m1", "", "https://[::1#m", "https://h:p#m", "h:1#m"])
def test_connect_to_what_is_no_address_is_refused(run, addr):
    async def test(kit):
        async with kit.session() as session:
            with pytest.raises(
                bm.UsageError, match="https://HOST:PORT#NAME|a machine or its address"
            ):
                await session.connect(addr)

    run(test)


def test_connect_accepts_machine_in_place_of_its_address(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            limited = machine.with_options(timeout=1)
            assert await session.connect(limited) is machine
            async with peer_session_of(session) as other:
                assert (await other.connect(machine)).addr == machine.addr

    run(test)


def test_two_sessions_on_two_systems_work_independently(run):
    async def test(kit):
        async with kit.session() as one:
            async with bm.AsyncSession(InProcessSystem) as two:
                [a] = await one.start(1, services=SERVICES)
                [b] = await two.start(1, services=SERVICES)
                assert await a.call("Echo.echo", "a") == "a"
                assert await b.call("Echo.echo", "b") == "b"
                with pytest.raises(bm.UsageError, match="another session"):
                    await two.connect(a.addr)
            assert a.state == bm.State.RUNNING
            assert b.state == bm.State.STOPPED

    run(test)


def test_connect_with_name_of_another_machine_is_refused(run):
    async def test(kit):
        async with kit.session() as session:
            one, other = await session.start(2, services=SERVICES)
            with pytest.raises(bm.ProtocolError, match=f"is not {one.instance.name}"):
                await session.connect(f"https://{other.instance.address}#{one.instance.name}")

    run(test)


def test_boot_error_contains_boot_console(run):
    class Console:
        @bm.hookimpl(wrapper=True)
        def console(self):
            reading = yield

            async def read():
                assert await reading == ""
                return "BIOS: no bootable disk"

            return read()

    async def test(kit):
        async with kit.session(plugins=[Console()]) as session:
            with pytest.raises(bm.StartError) as caught:
                await session.start(1, services={"Bad": BadSetup()})
        assert caught.value.__cause__.console == "BIOS: no bootable disk"

    run(test)


def test_unreadable_console_does_not_hide_boot_error(run, caplog):
    class Console:
        @bm.hookimpl(wrapper=True)
        def console(self):
            reading = yield

            async def fails():
                await reading
                raise OSError("throttled")

            return fails()

    async def test(kit):
        async with kit.session(plugins=[Console()]) as session:
            with pytest.raises(bm.StartError, match="no data set here"):
                await session.start(1, services={"Bad": BadSetup()})

    run(test)
    assert "reading its console failed" in caplog.text


@pytest.mark.long
def test_machine_reached_late_gets_keepalive_before_it_ends_itself(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES, wait=False)
            kit.system.partition(machine)
            await trio.sleep(100)  # of the 120 s after which it ends itself
            kit.system.heal(machine)
            await trio.sleep(3600)
            assert machine.state == bm.State.RUNNING

    run(test)


def test_machine_whose_driver_sends_other_calls_is_kept_until_it_sends_none(run):
    async def test(kit):
        timings = replace(kit.timings, period=1e6)  # no keepalive comes
        kit.system.keepalive = lambda: timings
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            for _ in range(20):
                await trio.sleep(timings.timeout / 2)
                assert await machine.call("Echo.echo", 1) == 1
            silent_since = trio.current_time()
            await eventually(lambda: kit.system.exited, within=2 * timings.timeout, every=1)
            assert trio.current_time() - silent_since >= timings.timeout

    run(test)


def test_machine_that_sends_other_replies_than_those_to_keepalives_is_kept(run, monkeypatch):
    async def never(self, timeout):
        await trio.sleep_forever()

    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services=SERVICES)
            kit.system.reports_ended_machines = False
            monkeypatch.setattr(Supervisor, "keepalive", never)
            for _ in range(100):
                await trio.sleep(kit.timings.rpc_timeout / 2)
                assert await machine.call("Echo.echo", 1) == 1
            with pytest.raises(bm.MachineStopped) as caught:
                await machine.call("Echo.forever")
            assert caught.value.reason is bm.StopReason.KEEPALIVE

    run(test)
