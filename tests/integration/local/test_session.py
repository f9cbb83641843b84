"""Sessions on real local machines: start, calls, failures and shutdown."""

from __future__ import annotations

import gc
import itertools
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

import bigmachine as bm
from bigmachine.worker._main import switch_interval
from tests.integration.local.services import Basic, CannotBeUnpickled, Mapper
from tests.support.drivers import driver
from tests.support.processes import is_running
from tests.support.waiting import eventually, until

FORK = [True, False]


async def wait_ended(pids):
    """Wait until none of ``pids`` runs."""
    await eventually(lambda: not any(map(is_running, pids)))


@pytest.mark.parametrize("fork", FORK)
def test_machines_start_serve_and_stop(fork):
    async def main():
        async with bm.AsyncSession("local", fork=fork, maxprocs=2) as session:
            machines = await session.start(3, services={"Basic": Basic()})
            assert [m.state for m in machines] == [bm.State.RUNNING] * 3
            assert len({m.addr for m in machines}) == 3
            assert all(m.maxprocs == 2 and m.owned for m in machines)
            pids = [await m.call("Basic.pid") for m in machines]
            assert len({os.getpid(), *pids}) == 4
            if sys.platform == "linux":  # what other users, or the same one, can read of them
                for pid, file in itertools.product(pids, ("cmdline", "environ")):
                    assert b"PRIVATE KEY" not in Path(f"/proc/{pid}/{file}").read_bytes()
            array = np.arange(1 << 20)
            assert np.array_equal(await machines[0].call("Basic.echo", array), array)
        assert not any(map(is_running, pids))

    trio.run(main)


DRIVER = """
import sys, trio
import bigmachine as bm
from tests.integration.local.services import Basic

async def main():
    async with bm.AsyncSession("local", fork={fork}) as session:
        machines = await session.start(5, services={{"Basic": Basic()}})
        print(*[await m.call("Basic.pid") for m in machines],
              await machines[0].call("Basic.children"), flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.parametrize("fork", [True, pytest.param(False, marks=pytest.mark.long)])
def test_no_machine_outlives_killed_driver(fork):
    with driver("-c", DRIVER.format(fork=fork)) as process:
        pids = process.read_pids()
        assert len(pids) == 6  # five machines, and a process that one of them started
        assert all(map(is_running, pids))
        process.kill()
        trio.run(wait_ended, pids)


@pytest.mark.parametrize("fork", [True, pytest.param(False, marks=pytest.mark.long)])
def test_calls_to_killed_machine_fail_with_signal_and_others_go_on(fork):
    async def main():
        async with bm.AsyncSession("local", fork=fork) as session:
            one, other = await session.start(2, services={"Basic": Basic()})
            pid = await one.call("Basic.pid")
            child = await one.call("Basic.children")

            async def call():
                with pytest.raises(bm.MachineStopped, match=r"killed by signal 9 \(SIGKILL\)"):
                    await one.call("Basic.forever")

            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(call)
                await trio.testing.wait_all_tasks_blocked()
                os.kill(pid, signal.SIGKILL)
            assert one.state == bm.State.STOPPED
            assert await other.call("Basic.echo", 1) == 1
            await one.shutdown()
            await wait_ended([child])

    trio.run(main)


@pytest.mark.long
def test_sessions_leak_no_descriptor_thread_process_or_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    async def cycle(session):
        [machine] = await session.start(1, services={"Basic": Basic()})
        await machine.shutdown()

    async def main(cycles):
        async with bm.AsyncSession("local") as session:
            for _ in range(cycles):
                await cycle(session)

    def resources():
        gc.collect()
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return len(os.listdir("/proc/self/fd")), threading.active_count(), len(children)

    trio.run(main, 2)
    before = resources()
    trio.run(main, 100)
    for _ in range(5):
        trio.run(main, 1)
    # trio keeps idle threads for ten seconds.
    until(lambda: all(now <= then for now, then in zip(resources(), before, strict=True)))
    assert list(tmp_path.iterdir()) == []


def test_unpicklable_argument_or_result_is_named(session_machine):
    call = session_machine.call
    with pytest.raises(bm.UsageError, match=r"Basic.echo: argument 0 \(a _thread.lock\) can't"):
        call("Basic.echo", threading.Lock())
    with pytest.raises(bm.UsageError, match="Basic.lock: result .a _thread.lock. can't be pickled"):
        call("Basic.lock")
    # cloudpickle can pickle a lambda.
    assert call("Basic.echo", lambda: 5)() == 5
    lock = threading.Lock()
    with pytest.raises(
        bm.UsageError, match="value: the variable lock that .* uses .a _thread.lock"
    ):
        call("Basic.echo", value=lambda: lock)


def test_unknown_method_error_lists_available_methods(session_machine):
    with pytest.raises(bm.UsageError, match="did you mean 'echo'.*There are: children, eat, echo"):
        session_machine.call("Basic.ecko")
    with pytest.raises(bm.UsageError, match="no service 'Nothing' here; there are: Basic"):
        session_machine.call("Nothing.at_all")


@pytest.fixture(scope="module")
def session_machine():
    with bm.Session("local") as session:
        yield session.start(1, services={"Basic": Basic()})[0]


def test_service_that_cannot_be_unpickled_is_start_error():
    with bm.Session("local") as session:
        with pytest.raises(bm.StartError, match="No module named 'driver_only'") as caught:
            session.start(1, services={"Bad": CannotBeUnpickled()})
        assert "must be importable there" in str(caught.value)
        assert session.machines == []


def test_port_in_use_is_named_and_nothing_is_started():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with bm.Session("local", port=port) as session:
            with pytest.raises(bm.StartError, match=f"127.0.0.1:{port}.*port=0"):
                session.start(1, services={"Basic": Basic()})
            assert session.machines == []


def test_too_few_descriptors_is_error_before_any_machine_is_started():
    program = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
import bigmachine as bm
from tests.integration.local.services import Basic
with bm.Session("local") as session:
    try:
        session.start(50, services={"Basic": Basic()})
    except bm.StartError as exc:
        print(exc)
    print(session.start(1, services={"Basic": Basic()})[0].call("Basic.echo", "still usable"))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    error, answer = run.stdout.splitlines()
    assert "limit is 80" in error
    assert "ulimit -n" in error
    assert answer == "still usable"


def test_unknown_option_or_system_error_suggests_alternative():
    with pytest.raises(bm.UsageError, match="did you mean 'maxprocs'"):
        bm.Session("local", maxproc=2)
    with pytest.raises(bm.UnknownSystemError, match="did you mean 'local'"):
        bm.Session("locla")
    with pytest.raises(bm.UsageError, match="maxprocs: must be at least 1, not 0"):
        bm.Session("local", maxprocs=0)


def test_cancelled_start_leaves_no_machine():
    async def main():
        async with bm.AsyncSession("local") as session:
            before = children_of_zygote(session)
            for deadline in (0, 0.001, 0.005, 0.02):
                with trio.move_on_after(deadline):
                    await session.start(5, services={"Basic": Basic()})
            assert session.machines == []
            while children_of_zygote(session) != before:  # they are being freed
                await trio.lowlevel.checkpoint()

    trio.run(main)


def children_of_zygote(session):
    zygote = session.system._zygote.process.pid
    return Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()


def test_two_sessions_use_two_systems_at_once():
    class Other(type(bm.Session("local").system)):
        name = "other"

    with bm.Session("local", maxprocs=1) as one, bm.Session(Other, maxprocs=2) as two:
        [a] = one.start(1, services={"Basic": Basic()})
        [b] = two.start(1, services={"Basic": Basic()})
        assert (a.maxprocs, b.maxprocs) == (1, 2)
        assert a.call("Basic.pid") != b.call("Basic.pid")
        with pytest.raises(bm.UsageError, match="another session"):
            one.connect(b.addr)


def test_client_without_certificate_gets_no_response(session_machine):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host, port = session_machine.instance.address.split(":")
    raw = socket.create_connection((host, int(port)))
    with context.wrap_socket(raw) as tls:
        tls.sendall(b"POST /rpc/Supervisor.pid HTTP/1.1\r\nhost: x\r\n\r\n")
        try:
            answer = tls.recv(100)
        except (ssl.SSLError, ConnectionError):
            answer = b""
    assert answer == b""
    assert session_machine.call("Basic.echo", 1) == 1


def test_machine_has_switch_interval_for_its_processors(session_machine):
    expected = switch_interval(session_machine.maxprocs)
    assert session_machine.call("Basic.switch_interval") == pytest.approx(expected, rel=0.01)


MEMORY_CGROUPS = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def small_cgroup():
    if os.geteuid() != 0 or not (MEMORY_CGROUPS / "cgroup.procs").exists():
        pytest.skip("needs root and a cgroup v1 memory controller")
    folder = MEMORY_CGROUPS / f"bigmachine-test-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "memory.limit_in_bytes").write_text(str(150 << 20))
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.root
def test_machine_killed_by_oom_killer_stops_with_reason_oom(small_cgroup):
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Basic": Basic()})
        (small_cgroup / "cgroup.procs").write_text(str(machine.call("Basic.pid")))
        with pytest.raises(bm.MachineStopped, match="out of memory") as caught:
            machine.call("Basic.eat", 400 << 20)
        assert caught.value.reason is bm.StopReason.OOM


@pytest.mark.root
def test_machine_using_95_percent_of_its_memory_is_unhealthy_and_says_what_is_in_it(
    small_cgroup, caplog, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    class Observer:
        def __init__(self):
            self.events = []

        @bm.hookimpl
        def event(self, event):
            if isinstance(event, bm.MachineHealth):
                self.events.append(event)

    observer = Observer()
    (small_cgroup / "memory.limit_in_bytes").write_text(str(700 << 20))
    with bm.Session("local", plugins=[observer]) as session:
        [machine] = session.start(1, services={"Basic": Basic()})
        (small_cgroup / "cgroup.procs").write_text(str(machine.call("Basic.pid")))
        assert machine.call("Supervisor.keepalive", 60.0).healthy
        memory = machine.memory()
        assert memory.total_bytes == 700 << 20
        room = memory.available_bytes
        machine.call("Basic.eat", room - (32 << 20))
        assert not machine.call("Supervisor.keepalive", 60.0).healthy
        assert machine.memory().used_fraction > 0.95
        said = "m0: what is in its memory: "
        path = until(lambda: "".join(m for m in caplog.messages if m.startswith(said)))
        folder = Path(path.removeprefix(said))
        with pytest.raises(bm.MachineStopped, match="out of memory") as caught:
            machine.call("Basic.eat", 800 << 20)
    assert [event.healthy for event in observer.events] == [False]
    assert f"what was in its memory before: {folder}" in str(caught.value)
    assert folder.parent == tmp_path / "bigmachine" / "memory"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "builtins.bytearray" in (folder / "heap.txt").read_text().splitlines()[2]
    assert (folder / "heap.pb.gz").read_bytes().startswith(b"\x1f\x8b")
    variables = json.loads((folder / "variables.json").read_text())
    assert "bigmachine_resident_memory_bytes" in json.dumps(variables)
    assert (folder / "output.txt").exists()


def test_errors_survive_pickling():
    for error in (
        bm.BootError("m", machine="m1", phase="p", console="c"),
        bm.MachineStopped("m", machine="m1", reason=bm.StopReason.OOM, output="last"),
        bm.RemoteError("m", addr="a", method="x.y", type_name="T", traceback="tb"),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("count", [3, 10**7])
def test_method_may_return_before_its_stream_argument_is_fully_sent(count):
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Mapper": Mapper()})
        for _ in range(5):
            assert machine.call("Mapper.first", (n for n in range(count))) == 0


def test_call_streams_in_both_directions_at_once():
    async def main():
        async with bm.AsyncSession("local") as session:
            [machine] = await session.start(1, services={"Mapper": Mapper()})
            send, receive = trio.open_memory_channel(0)
            doubled = machine.stream("Mapper.double", receive)
            async with trio.open_nursery() as nursery:

                async def feed():
                    async with send:
                        for number in range(3):
                            await send.send(number)
                            # The next goes up only when this one has come back.
                            await answered.receive()

                answer, answered = trio.open_memory_channel(0)
                nursery.start_soon(feed)
                results = []
                async for number in doubled:
                    results.append(number)
                    await answer.send(None)
            assert results == [0, 2, 4]

            def broken():
                yield 1
                raise ZeroDivisionError("in the caller's own iterator")

            items = machine.stream("Mapper.double", broken())
            with pytest.raises(ZeroDivisionError, match="the caller's own"):
                async for _ in items:
                    pass
            # Leaving early ends the upload too.
            endless = itertools.count()
            async with machine.stream("Mapper.double", endless) as numbers:
                assert await numbers.__anext__() == 0
            assert await machine.call("Supervisor.ping", 5) == 5

    trio.run(main)


def test_file_argument_is_processed_line_by_line(session_machine):
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Mapper": Mapper()})
        with open(__file__, "rb") as file:
            lines = list(machine.stream("Mapper.shout", file))
        assert lines == Path(__file__).read_text().upper().splitlines(keepends=True)
