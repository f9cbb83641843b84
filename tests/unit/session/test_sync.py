"""The sync API on real local machines."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback

import pytest

import bigmachine as bm
from tests.support.waiting import until


class Work:
    """A service with one of each kind of method."""

    def __init__(self):
        self.begun = self.cancelled = 0

    def setup(self, session):
        self.session = session

    def add(self, a, b=0):
        return a + b

    async def forever(self):
        import trio

        self.begun += 1
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled += 1

    async def silence(self):
        import trio

        self.begun += 1
        await trio.sleep_forever()
        yield

    async def counts(self):
        return self.begun, self.cancelled

    def count(self, n):
        yield from range(n)

    def total(self, numbers):
        return sum(numbers)

    def fail(self):
        raise LookupError("not there")

    def ask(self, addr, *args):
        return self.session.connect(addr).call("Work.add", *args)

    def start(self):
        self.session.start(1)

    def pid(self):
        return os.getpid()


@pytest.fixture(scope="module")
def session():
    with bm.Session("local") as session:
        yield session


@pytest.fixture(scope="module")
def machine(session):
    [machine] = session.start(1, services={"Work": Work()})
    return machine


def test_sync_api_calls_submits_and_streams_both_ways(machine):
    assert machine.call("Work.add", 1, b=2) == 3
    futures = [machine.submit("Work.add", i, i) for i in range(20)]
    done, pending = concurrent.futures.wait(futures)
    assert sorted(f.result() for f in done) == list(range(0, 40, 2))
    assert not pending
    assert list(machine.stream("Work.count", 1000)) == list(range(1000))
    assert machine.call("Work.total", iter(range(10))) == 45
    assert machine.call("Work.total", machine.stream("Work.count", 10)) == 45
    assert machine.call(Work().total, [1]) == 1  # of the machine's own object


def test_remote_exception_keeps_its_type_and_traceback(machine):
    with pytest.raises(LookupError, match="not there") as caught:
        machine.call("Work.fail")
    assert isinstance(caught.value.__cause__, bm.RemoteError)
    assert "in fail" in str(caught.value.__cause__)


def test_machine_reports_memory_disk_load_and_files_of_host(machine):
    assert 0 < machine.memory().process_bytes < machine.memory().total_bytes
    assert 0 < machine.disk().free_bytes <= machine.disk().total_bytes
    assert machine.load().one >= 0
    assert machine.maxprocs == 1
    assert machine.call("Supervisor.pid") == machine.call("Work.pid") != os.getpid()
    assert machine.read("/proc/version").startswith(b"Linux")
    with pytest.raises(FileNotFoundError):
        machine.read("/nonexistent")


def test_cancelling_future_cancels_method_on_machine(machine):
    _, cancelled = machine.call("Work.counts")
    future = machine.submit("Work.forever")
    machine.call("Work.add", 1)  # by now the method runs
    assert future.cancel()
    until(lambda: machine.call("Work.counts")[1] > cancelled)
    assert future.cancelled()


def test_ctrl_c_cancels_remote_method_and_session_stays_usable(machine):
    cancelled = machine.call("Work.counts")[1]
    interrupted(machine, lambda: machine.call("Work.forever"))
    until(lambda: machine.call("Work.counts")[1] > cancelled)
    assert machine.call("Work.add", 2, 2) == 4


def test_traceback_of_ctrl_c_shows_only_lines_of_user(session, machine):
    for wait in (
        lambda: machine.call("Work.forever"),
        lambda: machine.service(Work, "Work").forever(),
        lambda: machine.submit("Work.forever").result(),
        lambda: machine.submit("Work.forever").exception(),
        lambda: next(machine.stream("Work.silence")),
        lambda: [machine.submit("Work.forever"), *session.logs(machine)],
    ):
        frames = traceback.extract_tb(interrupted(machine, wait).__traceback__)
        assert {frame.filename for frame in frames} == {__file__}


def interrupted(machine, wait):
    """Send SIGINT once ``wait`` has begun a method of the machine; return the exception."""
    begun = machine.call("Work.counts")[0]

    def interrupt():
        until(lambda: machine.call("Work.counts")[0] > begun)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    try:
        helper.start()
        wait()
    except KeyboardInterrupt as exc:
        return exc
    finally:
        helper.join()
    raise AssertionError("it was not interrupted")


def test_session_works_inside_running_asyncio_loop(machine):
    async def cell():
        return machine.call("Work.add", 20, 22)

    assert asyncio.run(cell()) == 42


def test_session_loop_runs_while_program_computes(session, machine):
    # Keepalives run in this loop, which must answer although another thread is busy.
    stop = threading.Event()
    busy = threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)])
    busy.start()
    try:
        assert machine.call("Work.add", 1, 1) == 2
    finally:
        stop.set()
        busy.join()


def test_use_of_session_after_fork_is_refused(machine):
    def child(queue):
        try:
            machine.call("Work.add", 1)
        except bm.UsageError as exc:
            queue.put(str(exc))

    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    message = queue.get()
    process.join()
    assert "does not survive os.fork()" in message
    assert machine.call("Work.add", 1) == 1


def test_sync_call_inside_session_loop_is_refused(session):
    async def inside():
        with pytest.raises(bm.UsageError, match="use the async classes"):
            session._open()[1].run(None)

    session._open()[1].run(inside)


def test_session_of_setup_says_what_it_cannot_do(machine):
    with pytest.raises(AttributeError, match="'start': .* only the driver's session can start"):
        machine.call("Work.start")


def test_machines_call_each_other_from_plain_methods(session, machine):
    [other] = session.start(1, services={"Work": Work()})
    assert other.call("Work.ask", machine.addr, 3, 4) == 7
    other.shutdown()
    assert other.state == bm.State.STOPPED
    assert session.machines == [machine]


def test_typed_stub_calls_and_streams(machine):
    stub = machine.service(Work, "Work")
    assert stub.add(1, b=1) == 2
    assert list(stub.count(3)) == [0, 1, 2]
    with pytest.raises(AttributeError, match="no method 'nothing'$"):
        stub.nothing()
    with pytest.raises(AttributeError, match="no method 'ad'; did you mean 'add'?"):
        stub.ad(1)
    with pytest.raises(AttributeError, match="no method 'n': a stub has no data"):
        stub.n = 4
    assert "add" in dir(stub)
    assert machine.submit(stub.add, 1).result(60) == machine.call("Work.add", 1)
    stub.add = lambda a: -a  # as tests do
    assert stub.add(1) == -1


def test_attribute_by_its_name_elsewhere_says_what_it_is_called_here(session, machine):
    stream = machine.stream("Work.count", 1)
    of_machine = "' of one of its machines"
    for handle, name, here in (
        *((machine, "stop", "shutdown"), (machine, "kill", "cancel"), (machine, "id", "name")),
        *((session, "close", "shutdown"), (stream, "stop", "close")),
        *((session, "call", "call" + of_machine), (session, "map", "submit" + of_machine)),
    ):
        with pytest.raises(AttributeError, match=f"attribute '{name}'; did you mean '{here}"):
            getattr(handle, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'$"):
        machine.nothing
    for name, method in (("Work", "Work.add"), ("add", "Work.add")):
        with pytest.raises(
            AttributeError, match=f"'{name}'; a method is called by .*: call\\(\"{method}"
        ):
            getattr(machine, name)


def test_handle_as_argument_or_in_service_says_what_to_pass_instead(session, machine):
    for handle, advice in (
        (machine, "pass its addr: a service's setup() gets a session that can connect()"),
        (machine, "in place of processes of your own, use threads, or submit()"),
        (machine.service(Work, "Work"), "pass the addr of its machine, and make a stub there"),
        (machine.stream("Work.count", 1), "pass its items"),
        (session, "a service's setup() gets a session of its own"),
    ):
        with pytest.raises(bm.UsageError) as caught:
            machine.call("Work.add", {"peer": handle})
        assert str(caught.value).startswith(f"Work.add: argument 0['peer']: {handle!r} belongs to")
        assert advice in str(caught.value)
        with pytest.raises(bm.UsageError, match="belongs to this process"):
            pickle.dumps(handle)
        assert copy.copy(handle) is handle
        assert copy.deepcopy([handle]) == [handle]
        assert handle in {handle: 1}
    future = machine.submit("Work.add", 1)
    with pytest.raises(bm.UsageError, match=r"argument 0 \(.*Future\) can't be .*its result\(\)"):
        machine.call("Work.add", future)
    assert future.result() == 1
    work = Work()
    work.peers = [machine]
    with pytest.raises(bm.UsageError, match=r"services..Work..\.peers\[0\]: <Machine .*its addr"):
        session.start(1, services={"Work": work})


def test_killed_machine_ends_pending_call_with_its_signal(session):
    [machine] = session.start(1, services={"Work": Work()})
    future = machine.submit("Work.forever")
    os.kill(machine.call("Supervisor.pid"), signal.SIGKILL)
    with pytest.raises(bm.MachineStopped, match=r"killed by signal 9 \(SIGKILL\)") as caught:
        future.result()
    assert caught.value.reason is bm.StopReason.EXITED


def test_session_opens_on_first_use_and_is_unusable_after_shutdown():
    session = bm.Session("local")
    [machine] = session.start(1, services={"Work": Work()})
    assert machine.call("Work.add", 1) == 1
    session.shutdown()
    session.shutdown()
    assert session.machines == []
    with pytest.raises(bm.UsageError, match="shut down"):
        session.start(1, services={"Work": Work()})
    with pytest.raises(bm.MachineStopped):
        machine.call("Work.add", 1)


def test_session_that_is_open_in_one_block_is_refused_by_another(session, machine):
    with pytest.raises(bm.UsageError, match="open in another `with` block"), session:
        pass
    assert machine.call("Work.add", 1) == 1


def test_program_that_never_closes_its_session_leaves_no_process():
    program = """
import bigmachine as bm
from tests.unit.session.test_sync import Work
session = bm.Session("local")
machines = session.start(2, services={"Work": Work()})
print(*[m.call("Work.pid") for m in machines])
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    for pid in result.stdout.split():
        assert not os.path.exists(f"/proc/{pid}")


def test_each_output_line_is_prefixed_with_machine_name(capfd, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # machines inherit it

    class Printer:
        def speak(self):
            print("one\ntwo")
            print("no newline", end="", file=sys.stderr)

    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Printer": Printer()})
        machine.call("Printer.speak")
    lines = capfd.readouterr().err.splitlines()
    name = machine.name
    assert [line for line in lines if line.startswith(name)] == [
        f"{name}: one",
        f"{name}: two",
        f"{name}: no newline",
    ]


def test_environ_and_argv_reach_machine(session):
    class Reporter:
        def report(self):
            return os.environ.get("COLOUR"), sys.argv

    [machine] = session.start(
        1, services={"R": Reporter()}, environ={"COLOUR": "green"}, argv=["prog", "-x"]
    )
    assert machine.call("R.report") == ("green", ["prog", "-x"])
    assert machine.call("Supervisor.environment")["COLOUR"] == "green"
    machine.shutdown()


def test_cancelled_machine_ends_pending_futures_at_once(session):
    [machine] = session.start(1, services={"Work": Work()})
    futures = [machine.submit("Work.forever") for _ in range(10)]
    machine.call("Work.add", 1)
    machine.cancel()
    for future in futures:
        with pytest.raises(bm.MachineStopped) as caught:
            future.result()
        assert caught.value.reason is bm.StopReason.CANCELLED
