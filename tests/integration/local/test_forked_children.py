"""Children that user code forks from a driver can't touch its session, and end as any child."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest
import trio

import bigmachine as bm
from tests.integration.local.services import Basic
from tests.support.drivers import driver
from tests.support.processes import is_running
from tests.support.waiting import until

# Python 3.12 warns of a fork of a process with threads, such as that of a session.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

CHILD = """
import atexit, os, sys
import bigmachine as bm
from tests.integration.local.services import Basic

session = bm.Session("local")
[machine] = session.start(1, services={"Basic": Basic()})

def refused(function):
    try:
        function()
    except bm.UsageError as exc:
        assert "spawn" in str(exc), exc
    else:
        raise AssertionError(function)

if (pid := os.fork()) == 0:
    refused(lambda: machine.call("Basic.pid"))
    refused(lambda: machine.submit("Basic.pid"))
    refused(lambda: session.start(1, services={"Basic": Basic()}))
    refused(lambda: session.connect(machine.addr))
    refused(machine.memory)
    machine.cancel()
    refused(machine.shutdown)
    refused(session.__enter__)
    assert session.machines == []
    session.shutdown()
    session.__exit__(None, None, None)
    atexit.register(print, "the child's atexit")
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
print(machine.call("Basic.echo", "the parent works on"))
"""


def test_child_can_do_nothing_to_open_session_and_exits():

    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", CHILD],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == ["the child's atexit", "the parent works on"]


def use(machine):
    try:
        return machine.call("Basic.pid")
    except bm.UsageError as exc:
        return str(exc)


@pytest.fixture(scope="module")
def session():
    # With no keepalive: a machine's death is noticed by its connections.
    with bm.Session("local", keepalive_timeout=1000.0) as session:
        yield session


@pytest.fixture(scope="module")
def machine(session):
    return session.start(1, services={"Basic": Basic()})[0]


@pytest.mark.long
def test_workers_of_multiprocessing_leave_session_alone(machine):
    with multiprocessing.get_context("fork").Pool(2, initializer=sys.stdin.close) as pool:
        assert pool.map(abs, range(100)) == list(range(100))
    process = multiprocessing.get_context("fork").Process(target=use, args=(machine,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert machine.call("Basic.echo", 1) == 1


def fork_and_exit():
    if (pid := os.fork()) == 0:
        try:
            sys.exit(3)
        except SystemExit as exc:
            os._exit(exc.code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_fork_in_a_thread_and_before_exec_leave_session_alone(machine):
    results = []
    thread = threading.Thread(target=lambda: results.append(fork_and_exit()))
    thread.start()
    thread.join(60)
    assert results == [3]
    assert subprocess.call(["true"], preexec_fn=os.setsid) == 0
    assert machine.call("Basic.echo", 1) == 1


@pytest.mark.long
def test_child_of_async_driver_ends_and_leaves_session_alone():
    async def main():
        async with bm.AsyncSession("local") as session:
            [machine] = await session.start(1, services={"Basic": Basic()})
            uses = [
                lambda: machine.call("Basic.pid"),
                lambda: session.start(1, services={"Basic": Basic()}),
                machine.shutdown,
            ]
            for use in uses:
                if (pid := os.fork()) == 0:
                    try:
                        await use()
                    except bm.UsageError:
                        sys.exit(5)
                    os._exit(1)
                until(lambda pid=pid: not is_running(pid))
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
            assert await machine.call("Basic.echo", 1) == 1

    trio.run(main)


DRIVER = """
import multiprocessing, os, time
import bigmachine as bm
from tests.integration.local.services import Basic

session = bm.Session("local", fork={fork})
machines = session.start(2, services={{"Basic": Basic()}})
workers = [multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))]
workers[0].start()
print(*[m.call("Basic.pid") for m in machines], machines[0].call("Basic.children"), flush=True)
print(workers[0].pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.long
@pytest.mark.parametrize("fork", [None, False])
def test_machines_end_with_killed_driver_though_its_workers_live_on(fork):
    with driver("-c", DRIVER.format(fork=fork)) as process:
        machines = process.read_pids()
        [worker] = process.read_pids()
        process.kill()
        until(lambda: not any(map(is_running, machines)))
        assert is_running(worker)


class Forker:
    """A service that forks, as a loader of training data does."""

    def start(self):
        if (pid := os.fork()) == 0:
            time.sleep(1000)
            os._exit(0)
        return os.getpid(), pid


def test_death_of_machine_is_noticed_though_its_own_children_live_on(session):
    [machine] = session.start(1, services={"Forker": Forker()})
    pid, child = machine.call("Forker.start")
    os.kill(pid, 9)
    until(lambda: machine.state == bm.State.STOPPED)
    assert "killed by signal 9" in str(machine.error)
    until(lambda: not is_running(child))
