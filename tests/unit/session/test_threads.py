"""One session used by many threads, from its opening to its end, and in odd places."""

from __future__ import annotations

import asyncio
import gc
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trio

import bigmachine as bm
from bigmachine.testing import InProcessSystem
from tests.support.waiting import until


class Work:
    def hi(self):
        return "hi"


SERVICES = {"Work": Work()}


class SlowSystem(InProcessSystem):
    """Its setup and its start wait until the test says so."""

    def __init__(self, options=None):
        super().__init__(options)
        self.opens = 0
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        self.is_starting, self.may_start = threading.Event(), threading.Event()
        self.may_start.set()
        self.error: Exception | None = None

    async def setup(self):
        self.opens += 1
        self.has_begun.set()
        await trio.to_thread.run_sync(self.may_go_on.wait)
        if self.error:
            raise self.error
        await super().setup()

    async def start(self, count, request):
        self.is_starting.set()
        while not self.may_start.is_set():
            await trio.sleep(0.001)
        return await super().start(count, request)


def at_once(*functions: Callable[[], Any]) -> list[Any]:
    """Call each in a thread of its own, all at the same moment; return results or errors."""
    barrier = threading.Barrier(len(functions))

    def call(function):
        barrier.wait()
        try:
            return function()
        except Exception as exc:
            return exc

    with ThreadPoolExecutor(len(functions)) as threads:
        return list(threads.map(call, functions))


def loops():
    return [thread for thread in threading.enumerate() if thread.name == "bigmachine"]


def test_first_use_by_several_threads_opens_one_session():
    system = InProcessSystem()
    session = bm.Session(system)
    try:
        uses = [lambda: session.start(1, services=SERVICES)[0].call("Work.hi")] * 4
        names = [lambda: session.__enter__().name, *[lambda: session.name] * 3]
        results = at_once(*uses, *names)
        assert results[:4] == ["hi"] * 4
        assert len(set(results[4:])) == 1
        assert len(loops()) == 1
        assert len(session.machines) == 4
    finally:
        session.shutdown()
    assert loops() == []


def test_failed_opening_fails_in_each_thread_and_can_be_repeated():
    system = SlowSystem()
    system.may_go_on.set()
    system.error = bm.StartError("no")
    session = bm.Session(system)
    errors = at_once(*[lambda: session.start(1, services=SERVICES)] * 4)
    assert [type(error) for error in errors] == [bm.StartError] * 4
    assert loops() == []
    system.error = None
    with session:
        assert session.start(1, services=SERVICES)[0].call("Work.hi") == "hi"


def test_shutdown_waits_for_opening_in_another_thread_and_ends_it():
    system = SlowSystem()
    session = bm.Session(system)

    def shut_down():
        system.has_begun.wait()
        threading.Timer(0.01, system.may_go_on.set).start()
        session.shutdown()
        return loops()

    started, left = at_once(lambda: session.start(1, services=SERVICES), shut_down)
    assert isinstance(started, bm.UsageError)
    assert left == []
    assert system.opens == 1


def test_signal_handler_can_shut_down_session_that_its_thread_opens():
    system = SlowSystem()
    session = bm.Session(system)

    def interrupt():
        system.has_begun.wait()
        # Python runs no handler for a signal that comes just before its thread begins to wait.
        while not system.may_go_on.wait(0.5):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    def handle(*_):
        session.shutdown()
        system.may_go_on.set()

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(bm.UsageError, match="shut down"):
            session.start(1, services=SERVICES)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert loops() == []


def test_shutdown_ends_start_in_another_thread():
    system = SlowSystem()
    system.may_go_on.set()
    system.may_start.clear()
    with bm.Session(system) as session:

        def shut_down():
            system.is_starting.wait()
            session.shutdown()

        started, _ = at_once(lambda: session.start(1, services=SERVICES), shut_down)
    assert isinstance(started, bm.UsageError)
    assert "shut down" in str(started)


def test_each_shutdown_returns_when_all_is_freed():
    session = bm.Session(InProcessSystem())
    [machine] = session.start(1, services=SERVICES)

    def shut_down():
        session.shutdown()
        return machine.state, loops()

    assert at_once(*[shut_down] * 4) == [(bm.State.STOPPED, [])] * 4


def test_every_public_use_by_threads_during_shutdown_returns_or_raises_our_error():
    with bm.Session(InProcessSystem()) as session:
        [machine] = session.start(1, services=SERVICES)
        uses = [
            lambda: session.start(1, services=SERVICES),
            lambda: session.connect(machine.addr),
            lambda: session.machines,
            lambda: session.cost,
            lambda: session.name,
            lambda: session.system,
            lambda: repr(session),
            lambda: machine.call("Work.hi"),
            machine.memory,
            machine.cancel,
            session.shutdown,
        ]
        results = at_once(*uses, *uses)
    errors = [result for result in results if isinstance(result, Exception)]
    assert [error for error in errors if not isinstance(error, bm.BigmachineError)] == []


def test_machine_is_same_object_in_all_threads():
    with bm.Session(InProcessSystem()) as session:
        [machine] = session.start(1, services=SERVICES)
        found = at_once(
            *[lambda: session.machines[0]] * 4, *[lambda: session.connect(machine.addr)] * 4
        )
        assert all(one is machine for one in found)


def test_destructor_in_sessions_own_thread_can_shut_it_down():
    session = bm.Session(InProcessSystem())
    [machine] = session.start(1, services=SERVICES)
    returned = threading.Event()

    def destructor():  # as garbage collection runs it, in any thread
        session.shutdown()
        returned.set()

    assert session._opened is not None
    session._opened.portal.post(destructor)
    assert returned.wait(60)
    session.shutdown()
    assert machine.state == bm.State.STOPPED
    assert loops() == []


def test_session_cannot_be_opened_or_used_in_thread_of_another(tmp_path):
    script = tmp_path / "library.py"
    script.write_text("import bigmachine as bm\nbm.Session('local').machines, bm.Session().name\n")
    with bm.Session(InProcessSystem()) as session, bm.Session(InProcessSystem()) as other:
        [machine] = other.start(1, services=SERVICES)

        async def in_loop(function, *args):
            with pytest.raises(bm.UsageError) as caught:
                function(*args)
            return str(caught.value)

        def run(*args):
            return session._opened.portal.run(in_loop, *args)

        assert "runs the loop of a session" in run(bm.Session(InProcessSystem()).start, 1)
        assert f"{script} opens a session" in run(runpy.run_path, str(script), {}, "library")
        assert "would wait" in run(machine.call, "Work.hi")
        assert machine.call("Work.hi") == "hi"


def test_sessions_of_one_process_leave_nothing_behind():
    def resources():
        gc.collect()
        ours = [one for one in gc.get_objects() if isinstance(one, (bm.Session, bm.AsyncSession))]
        return len(os.listdir("/proc/self/fd")), len(loops()), len(ours)

    def cycle():
        with bm.Session(InProcessSystem()) as session:
            session.start(1, services=SERVICES)[0].call("Work.hi")

    cycle()
    cycle()
    before = resources()
    for _ in range(5):
        cycle()
    until(lambda: all(now <= then for now, then in zip(resources(), before, strict=True)))


def test_wrong_kind_of_with_block_names_right_one():
    with pytest.raises(bm.UsageError, match="by `with`, use Session"):
        bm.AsyncSession(InProcessSystem()).__enter__()

    async def main():
        with pytest.raises(bm.UsageError, match=r"open .* first: `async with AsyncSession\("):
            await bm.AsyncSession(InProcessSystem()).start(1, services=SERVICES)
        with pytest.raises(bm.UsageError, match="opens by `with`"):
            async with bm.Session(InProcessSystem()):
                pass

    trio.run(main)


def test_async_session_in_asyncio_is_usage_error():
    async def main():
        with pytest.raises(bm.UsageError, match="needs trio.*or use Session"):
            async with bm.AsyncSession(InProcessSystem()):
                pass
        with bm.Session(InProcessSystem()) as session:
            assert session.start(1, services=SERVICES)[0].call("Work.hi") == "hi"

    asyncio.run(main())


AT_EXIT = """
import atexit, sys, threading
import bigmachine as bm
from bigmachine.testing import InProcessSystem

class Work:
    def hi(self): return "hi"

SERVICES = {"Work": Work()}

def report(name, function):
    try:
        print(name, function(), flush=True)
    except bm.BigmachineError as exc:
        print(name, type(exc).__name__, flush=True)

session, late = bm.Session(InProcessSystem()), bm.Session(InProcessSystem())
atexit.register(lambda: report("start", lambda: session.start(1, services=SERVICES)))
atexit.register(lambda: report("late", lambda: late.start(1, services=SERVICES)[0].call("Work.hi")))
atexit.register(lambda: report("call", lambda: machine.call("Work.hi")))
atexit.register(lambda: report("shutdown", session.shutdown))

def open_and_exit():
    session.start(1, services=SERVICES)
    sys.exit(3)

thread = threading.Thread(target=open_and_exit)
thread.start()
thread.join()
[machine] = session.machines
report("after exit of thread", lambda: machine.call("Work.hi"))

def call_on():
    machine.call("Work.hi")
    has_called.set()
    while True:
        try:
            machine.call("Work.hi")
        except bm.BigmachineError:
            pass

has_called = threading.Event()
threading.Thread(target=call_on, daemon=True).start()
has_called.wait()
"""


def test_session_ends_with_interpreter_whatever_still_uses_it():
    run = subprocess.run(
        [sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=100
    )
    *lines, late, start = run.stdout.splitlines()
    assert lines == ["after exit of thread hi", "shutdown None", "call MachineStopped"]
    # Some releases of Python 3.12 start no thread at exit (cpython issue 113964).
    assert late == "late hi" or (late == "late UsageError" and sys.version_info[:2] == (3, 12))
    assert start == "start UsageError"
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_session_made_before_fork_and_unopened_opens_in_child(monkeypatch):
    # The child has no thread that handles log records, and must not wait for it.
    monkeypatch.setattr("bigmachine.session._log_thread._FLUSH_SECONDS", 3600.0)
    session = bm.Session(InProcessSystem())
    if (pid := os.fork()) == 0:
        status = 1
        try:
            with session:
                status = session.start(1, services=SERVICES)[0].call("Work.hi") != "hi"
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    with session:
        assert session.start(1, services=SERVICES)[0].call("Work.hi") == "hi"
