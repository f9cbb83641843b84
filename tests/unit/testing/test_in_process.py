from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest
import trio
from trio.testing import MockClock, check_two_way_stream

import bigmachine as bm
from bigmachine.boot import LaunchRequest
from bigmachine.boot._config import Configurator
from bigmachine.testing import InProcessOptions, InProcessSystem
from bigmachine.testing.in_process import _machine, _network
from bigmachine.testing.in_process._network import Host, connect
from examples import bigpi
from tests.support.clocks import jumping_clock
from tests.support.services import Echo


class Inside(Echo):
    """Sees what is around it, from threads."""

    def setup(self, session: bm.PeerSession) -> None:
        self.session = session

    def through(self, addr: str, value: object) -> object:
        return self.session.connect(addr).call("Echo.echo", value)

    def environ(self, name: str) -> str | None:
        return os.environ.get(name)

    def argv(self) -> list[str]:
        return sys.argv

    def exit(self, code: int) -> None:
        self.session.system.exit(code)


SERVICES = {"Echo": Inside()}


def run(test):
    """Run an async test under a clock that jumps ahead whenever all tasks wait."""
    trio.run(test, clock=jumping_clock())


@pytest.fixture(autouse=True)
def _no_machine_remains():
    yield
    assert _machine.running == {}
    assert _network._hosts == {}


# -- construction ------------------------------------------------------------------


def test_session_accepts_system_class_or_system_instance():
    for session, maxprocs in (
        (bm.Session(InProcessSystem), 1),
        (bm.Session(InProcessSystem, maxprocs=2), 2),
        (bm.Session(InProcessSystem(InProcessOptions(maxprocs=3))), 3),
    ):
        with session:
            [machine] = session.start(1, services=SERVICES)
            assert machine.maxprocs == maxprocs
            assert machine.call("Echo.echo", "hello") == "hello"


def test_class_and_options_of_system_make_equal_system():
    system = InProcessSystem(InProcessOptions(keepalive_period=7, keepalive_timeout=8))
    other = type(system)(system.options)
    assert other.keepalive() == system.keepalive() == bm.Keepalive(7, 8, 10)


@pytest.mark.parametrize(
    "name", ["maxprocs", "keepalive_period", "keepalive_timeout", "rpc_timeout"]
)
def test_invalid_option_is_refused_before_machines_are_started(name):
    with pytest.raises(bm.UsageError, match=f"invalid option {name}: must be"):
        bm.Session(InProcessSystem, **{name: 0}).start(1, services=SERVICES)


def test_testing_package_imports_neither_trio_nor_pytest():
    program = (
        "import sys, bigmachine.testing as t; t.__all__;"
        "assert not {'trio', 'pytest', 'httpx'} & set(sys.modules); t.InProcessSystem"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# -- the network --------------------------------------------------------------------


def test_in_memory_streams_keep_stream_contract_of_trio():
    async def open_pair():
        host = Host("m0")
        hosts.append(host)
        return await connect(*split(host.address)), await host.accept()

    async def clogged():
        ours, theirs = await open_pair()
        with trio.move_on_after(0):
            await ours.send_all(bytes(10 << 20))
        for stream in (ours, theirs):
            with trio.move_on_after(0.01):
                await stream.send_all(bytes(10 << 20))
        return ours, theirs

    async def test():
        await check_two_way_stream(open_pair, clogged)
        for host in hosts:
            assert not host.links  # no closed connection is kept
            host.close()

    hosts: list[Host] = []
    run(test)


def split(address: str) -> tuple[str, int]:
    host, _, port = address.partition(":")
    return host, int(port)


def test_writer_waits_for_slow_reader():
    async def test():
        host = Host("m0")
        ours = await connect(*split(host.address))
        theirs = await host.accept()
        data = os.urandom(3 << 20)
        received = bytearray()
        sent = []

        async def send():
            await ours.send_all(data)
            sent.append(True)
            await ours.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            assert not sent
            while part := await theirs.receive_some():
                received += part
        assert received == data
        host.close()

    run(test)


def test_partition_holds_back_data_dials_and_end_until_it_is_healed():
    async def test():
        host = Host("m0")
        ours = await connect(*split(host.address))
        theirs = await host.accept()
        host.partition()
        await theirs.send_all(b"held back")
        await theirs.aclose()
        received = []

        async def receive():
            while part := await ours.receive_some():
                received.append(part)
            received.append(b"the end")

        async def dial():
            await connect(*split(host.address))
            received.append(b"dialled")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            nursery.start_soon(dial)
            await trio.sleep(3600)
            assert received == []
            host.heal()
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(received) == [b"dialled", b"held back", b"the end"]
        host.close()

    run(test)


def test_closed_host_ends_its_connections_after_bytes_it_had_sent():
    async def test():
        host = Host("m0")
        ours = await connect(*split(host.address))
        theirs = await host.accept()
        await theirs.send_all(b"last bytes")
        host.close()
        assert await ours.receive_some() == b"last bytes"
        assert await ours.receive_some() == b""
        with pytest.raises(trio.BrokenResourceError):
            await ours.send_all(b"?")
        with pytest.raises(trio.ClosedResourceError):
            await theirs.send_all(b"it is closed")

    run(test)


def test_host_closed_during_partition_refuses_only_after_heal():
    async def test():
        host = Host("m0")
        host.partition()
        host.close()
        with trio.move_on_after(3600) as scope:
            await connect(*split(host.address))
        assert scope.cancelled_caught
        host.heal()
        with pytest.raises(ConnectionRefusedError, match="no machine listens at m0-"):
            await connect(*split(host.address))

    run(test)


# -- kill, partition, heal, reset ------------------------------------------------------


@pytest.mark.parametrize("reference", ["machine", "instance", "name", "full name"])
def test_killed_machine_ends_its_calls_and_others_keep_running(reference):
    system = InProcessSystem()
    with bm.Session(system) as session:
        one, other = session.start(2, services=SERVICES)
        pending = one.submit("Echo.forever")
        system.kill(
            {
                "machine": one,
                "instance": one.instance,
                "name": one.name,
                "full name": one.instance.name,
            }[reference]
        )
        with pytest.raises(bm.MachineStopped, match="killed by InProcessSystem.kill") as caught:
            pending.result(60)
        assert caught.value.reason is bm.StopReason.EXITED
        assert other.call("Echo.echo", 1) == 1
        with pytest.raises(bm.TransportError, match="nothing listens"):
            other.call("Echo.through", one.addr, 1)
        system.kill(one)  # may be repeated
        assert system.exited == {}


def test_machine_of_another_system_is_usage_error():
    system, other = InProcessSystem(), InProcessSystem()
    with bm.Session(system) as session, bm.Session(other) as elsewhere:
        session.start(1, services=SERVICES)
        [machine] = elsewhere.start(1, services=SERVICES)
        with pytest.raises(bm.UsageError, match=r"m0\..* is not a machine of .* .it has m0"):
            system.kill(machine)
        with pytest.raises(bm.UsageError, match="m7 is not a machine"):
            system.partition("m7")
        assert machine.call("Echo.echo", 1) == 1


def test_kill_works_in_trio_and_from_another_thread():
    async def test():
        system = InProcessSystem()
        async with bm.AsyncSession(system) as session:
            one, other = await session.start(2, services=SERVICES)
            system.kill(one)
            await trio.to_thread.run_sync(system.kill, other)
            await one.wait(bm.State.STOPPED)
            await other.wait(bm.State.STOPPED)
            assert trio.current_time() - began < system.options.keepalive_period

    began = 0.0
    trio.run(test, clock=MockClock(rate=1))


def test_partitioned_machine_answers_after_heal():
    async def test():
        system = InProcessSystem()
        async with bm.AsyncSession(system) as session:
            [machine] = await session.start(1, services=SERVICES)
            system.partition(machine)
            answers = []

            async def call():
                answers.append(await machine.call("Echo.echo", 1))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.sleep(100)
                assert await system.keepalive_failed(machine.instance) is None
                assert answers == []
                system.heal(machine)
            assert answers == [1]
            assert machine.state is bm.State.RUNNING

    run(test)


def test_partitioned_machine_cannot_reach_peers():
    async def test():
        system = InProcessSystem()
        async with bm.AsyncSession(system) as session:
            one, other = await session.start(2, services={"Echo": Peer()})
            assert await one.call("Echo.through", other.addr) == "pong"
            await one.call("Echo.note", other.addr, 50)
            system.partition(one)
            await trio.sleep(100)  # one tries to reach other meanwhile, and cannot
            assert await other.call("Echo.pings") == 1
            system.heal(one)
            await trio.sleep(1)
            assert await other.call("Echo.pings") == 2

    run(test)


class Peer:
    def __init__(self) -> None:
        self.count = 0

    async def setup(self, session: bm.AsyncPeerSession) -> None:
        self.session = session

    async def ping(self) -> str:
        self.count += 1
        return "pong"

    async def pings(self) -> int:
        return self.count

    async def through(self, addr: str) -> object:
        return await (await self.session.connect(addr)).call("Echo.ping")

    async def note(self, addr: str, delay: float) -> None:
        async def later() -> None:
            await trio.sleep(delay)
            await self.through(addr)

        trio.lowlevel.spawn_system_task(later)


def test_reset_connection_is_reopened():
    system = InProcessSystem()
    with bm.Session(system) as session:
        [machine] = session.start(1, services=SERVICES)
        pending = machine.submit("Echo.forever")
        session.start(1, services=SERVICES)  # by now the call is under way
        system.reset(machine)
        with pytest.raises(bm.TransportError) as caught:
            pending.result(60)
        assert caught.value.temporary
        assert machine.call("Echo.echo", 1) == 1


def test_exit_codes_of_machines_that_ended_themselves_are_recorded():
    async def test():
        system = InProcessSystem()
        async with bm.AsyncSession(system) as session:
            shut_down, isolated, killed, exited_itself = await session.start(4, services=SERVICES)
            await shut_down.shutdown()
            system.partition(isolated)
            system.kill(killed)
            with pytest.raises(bm.MachineStopped, match="exited with status 3"):
                await exited_itself.call("Echo.exit", 3)
            await isolated.wait(bm.State.STOPPED)
            await trio.sleep(200)
            assert system.exited == {"m0": 0, "m1": 1, "m3": 3}
        assert system.exited["m1"] == 1  # it is still known

    run(test)


def test_machine_ends_itself_if_keepalives_are_too_rare():
    async def test():
        async with bm.AsyncSession(InProcessSystem, keepalive_period=600.0, rpc_timeout=5.0) as s:
            machine, watched = *(await s.start(1, services=SERVICES)), s.system.keepalive()
            assert (watched.period, watched.rpc_timeout) == (600, 5)
            await trio.sleep(110)  # the machine ends itself after 120 s without a keepalive
            assert machine.state is bm.State.RUNNING
            with pytest.raises(bm.MachineStopped):
                await machine.call("Echo.forever")
            assert s.system.exited == {"m0": 1}

    run(test)


# -- shared process state ---------------------------------------------------------------


def test_environ_and_argv_are_restored_after_session(monkeypatch):
    monkeypatch.setenv("WAS_THERE", "before")
    monkeypatch.delenv("WAS_NOT", raising=False)
    argv = list(sys.argv)
    with bm.Session(InProcessSystem) as session:
        [machine] = session.start(
            1, services=SERVICES, environ={"WAS_THERE": "new", "WAS_NOT": "new"}, argv=["prog", "x"]
        )
        assert machine.call("Echo.environ", "WAS_THERE") == "new"
        assert machine.call("Echo.environ", "WAS_NOT") == "new"
        assert machine.call("Echo.argv") == ["prog", "x"]
    assert os.environ["WAS_THERE"] == "before"
    assert "WAS_NOT" not in os.environ
    assert sys.argv == argv


def test_environ_of_two_sessions_is_restored_after_last_one(monkeypatch):
    monkeypatch.setenv("SHARED", "before")
    one, two = bm.Session(InProcessSystem), bm.Session(InProcessSystem)
    one.start(1, services=SERVICES, environ={"SHARED": "one"})
    two.start(1, services=SERVICES, environ={"SHARED": "two"})
    one.shutdown()
    assert os.environ["SHARED"] == "two"
    two.shutdown()
    assert os.environ["SHARED"] == "before"


def test_module_path_of_process_is_unchanged(monkeypatch):
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    path = list(sys.path)
    with bm.Session(InProcessSystem) as session:
        session.start(1, services=SERVICES)
        assert sys.path == path


# -- machines that fail -----------------------------------------------------------------


class Unloadable(InProcessSystem):
    def __getstate__(self):
        return {**super().__getstate__(), "field": FailsToLoad()}


class FailsToLoad:
    def __reduce__(self):
        return fail_to_load, ()


def fail_to_load():
    raise ModuleNotFoundError("No module named 'missing_module'")


def test_console_shows_traceback_if_configuration_cannot_be_loaded(caplog):
    async def test():
        system = Unloadable()
        async with bm.AsyncSession(system) as session:
            with pytest.raises(bm.StartError, match="No module named 'missing_module'") as caught:
                await session.start(2, services=SERVICES)
            assert caught.value.__cause__.phase == "connect"
            [machine, *_] = system._machines.values()
            console = await system.console(machine.instance)
            assert "Traceback" in console
            assert "in fail_to_load" in console
            assert system.exited == {"m0": 1, "m1": 1}

    run(test)
    assert "m0 failed" in caplog.text


class Failing(InProcessSystem):
    error: BaseException = OSError("no network card")

    async def listen(self, address):
        await super().listen(address)
        raise type(self).error


def test_error_in_one_machine_ends_only_that_machine():
    async def test():
        async with bm.AsyncSession(InProcessSystem) as healthy:
            [machine] = await healthy.start(1, services=SERVICES)
            async with bm.AsyncSession(Failing) as session:
                with pytest.raises(bm.StartError, match="no network card"):
                    await session.start(1, services=SERVICES)
            assert await machine.call("Echo.echo", 1) == 1

    run(test)


class Interrupted(Failing):
    error = KeyboardInterrupt()


@pytest.fixture
def _default_sigint_handler():
    # A process that was started in the background ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_default_sigint_handler")
def test_ctrl_c_inside_machine_reaches_program():
    async def test():
        async with bm.AsyncSession(Interrupted) as session:
            await session.start(1, services=SERVICES)

    with pytest.raises(KeyboardInterrupt):
        run(test)


def test_machine_can_be_started_only_by_its_system():
    with pytest.raises(bm.NotSupportedError, match="only its system can start"):
        InProcessSystem().main(trio.sleep_forever)

    async def test():
        copy = pickle.loads(pickle.dumps(InProcessSystem()))
        with pytest.raises(bm.UsageError, match="not a machine of this process"):
            await copy.listen("m0-nowhere.in-process:1")

    run(test)


# -- start and stop --------------------------------------------------------------------------


class Slow:
    async def setup(self, session: bm.AsyncPeerSession) -> None:
        await trio.sleep_forever()


def test_cancelled_start_leaves_no_machine_and_no_task():
    async def test():
        system = InProcessSystem()
        living = trio.lowlevel.current_statistics().tasks_living
        for named in range(5):
            with trio.CancelScope() as scope:
                await system.start(5, launch_request(system, cancelling(scope, after=named)))
            assert scope.cancelled_caught
            assert await system.instances() == []
            assert trio.lowlevel.current_statistics().tasks_living == living

    run(test)


def cancelling(scope, *, after):
    """Yield the names of five machines, and cancel ``scope`` before one of them."""
    for number in range(5):
        if number == after:
            scope.cancel()
        yield f"m{number}"


def launch_request(system, names):
    from bigmachine._identity import Authority

    return LaunchRequest(
        authority=Authority("s.bigmachine"),
        names=names,
        keepalive=system.keepalive(),
        argv=sys.argv,
        environ={},
        configure=Configurator(system=system, maxprocs=1),
    )


def test_concurrent_starts_give_machines_unique_addresses():
    async def test():
        started = []

        async def start(session):
            started.extend(await session.start(5, services=SERVICES))

        async with bm.AsyncSession(InProcessSystem) as one, bm.AsyncSession(InProcessSystem) as two:
            async with trio.open_nursery() as nursery:
                for session in (one, two, one, two):
                    nursery.start_soon(start, session)
            assert len({machine.instance.address for machine in started}) == 20
            assert len(await InProcessSystem().instances()) == 20
            for machine in started:
                assert await machine.call("Echo.echo", machine.name) == machine.name

    run(test)


def test_end_of_one_session_does_not_stop_machines_of_another():
    with bm.Session(InProcessSystem) as one:
        [a] = one.start(1, services=SERVICES)
        with bm.Session(InProcessSystem) as two:
            [b] = two.start(1, services=SERVICES)
            assert [a.call("Echo.echo", "a"), b.call("Echo.echo", "b")] == ["a", "b"]
        assert b.state is bm.State.STOPPED
        assert a.call("Echo.echo", "a") == "a"


def test_new_system_in_another_loop_can_stop_listed_machine():
    with bm.Session(InProcessSystem) as session:
        [machine, other] = session.start(2, services=SERVICES)

        async def free():
            fresh = InProcessSystem()
            listed = {instance.name: instance for instance in await fresh.instances()}
            assert listed[machine.instance.name] == machine.instance
            await fresh.stop(listed[machine.instance.name])
            assert machine.instance not in await fresh.instances()
            await fresh.shutdown()

        trio.run(free)
        machine.wait(bm.State.STOPPED)
        assert machine.error.reason is bm.StopReason.EXITED
        assert other.call("Echo.echo", 1) == 1


def test_shutdown_works_without_setup_and_twice():
    async def test():
        system = InProcessSystem()
        await system.shutdown()
        await system.setup()
        await system.start(3, launch_request(system, (f"m{n}" for n in range(3))))
        tasks = trio.lowlevel.current_statistics().tasks_living
        await system.shutdown()
        assert trio.lowlevel.current_statistics().tasks_living < tasks
        assert await system.instances() == []
        await system.shutdown()

    run(test)


def test_cancelled_stop_still_stops_machine():
    async def test():
        system = InProcessSystem()
        [instance] = await system.start(1, launch_request(system, iter(["m0"])))
        with trio.CancelScope() as scope:
            scope.cancel()
            await system.stop(instance)
        assert scope.cancelled_caught
        assert await system.instances() == []
        assert await system.keepalive_failed(instance) is not None
        await system.stop(instance)

    run(test)


def test_machines_without_shutdown_end_with_loop():
    async def test():
        system = InProcessSystem()
        await system.start(3, launch_request(system, (f"m{n}" for n in range(3))))

    run(test)
    assert _machine.running == {}


def test_machine_reads_files_of_this_computer_and_has_empty_console(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1_000_000)

    async def test():
        async with bm.AsyncSession(InProcessSystem) as session:
            [machine] = await session.start(1, services=SERVICES)
            assert await machine.read(str(file)) == file.read_bytes()
            with pytest.raises(FileNotFoundError):
                await machine.read(str(tmp_path / "none"))
            assert await session.system.console(machine.instance) == ""

    trio.run(test)


@pytest.mark.long
def test_thousand_machines_estimate_pi_and_leave_no_thread(monkeypatch):
    monkeypatch.setattr(bigpi, "BATCH", 1000)
    monkeypatch.setattr(bigpi, "QUEUED", 1)  # so that each machine gets a batch
    before = set(threading.enumerate())
    with bm.Session(InProcessSystem()) as session:
        machines = session.start(1000, services={"PI": bigpi.CirclePI()})
        assert len(machines) == 1000
        *_, result = bigpi.estimate(machines, 1_000_000, "seed")
        assert len(result.samples_of) == 1000
        assert abs(4 * result.hits / result.samples - math.pi) < 5 * result.error
    assert _machine.running == {}
    for thread in set(threading.enumerate()) - before:
        if not thread.name.startswith("Trio thread"):  # which trio keeps for ten seconds
            thread.join(60)
            assert not thread.is_alive(), thread


@pytest.mark.long
def test_hundred_machines_answer_in_turns_what_each_does_so_that_time_limits_hold():
    with bm.Session(InProcessSystem()) as session:
        machines = session.start(100, services={"Echo": Echo()})
        for _ in range(2):  # the first answer may take longer
            began = time.monotonic()
            machines[0].threads()
            seconds = time.monotonic() - began
        dump = session.threads(timeout=20 * seconds)
        assert 0 < len(dump.failures) < 100  # not all at once, of which none is in time
        assert machines[99].call("Echo.echo", 1) == 1
