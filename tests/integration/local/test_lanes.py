"""Calls over lanes to real processes, which are killed, hang, fork and compute."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import bigmachine as bm
from tests.integration.local.services import Basic
from tests.support.sockets import LANE, Where, await_lane, has_lane
from tests.support.waiting import until


class Parallel:
    @bm.parallel
    def pid(self) -> int:
        return os.getpid()


class Waits:
    def wait(self) -> None:
        threading.Event().wait(60)


class Forks:
    def fork(self) -> int:
        """Return the process id of a child that lives as long as its machine."""
        if (pid := os.fork()) == 0:
            while os.getppid() != 1:
                signal.sigtimedwait([signal.SIGUSR1], 0.01)
            os._exit(0)
        return pid


SERVICES = {
    "Basic": Basic(),
    "Where": Where(),
    "Parallel": Parallel(),
    "Forks": Forks(),
    "Waits": Waits(),
}


@pytest.fixture(scope="module")
def session() -> Iterator[bm.Session]:
    with bm.Session("local", maxprocs=2) as session:
        yield session


@pytest.fixture
def machine(session: bm.Session) -> Iterator[bm.Machine]:
    [machine] = session.start(1, services=SERVICES)
    await_lane(machine)
    yield machine
    machine.shutdown()


def test_machine_that_is_killed_ends_a_call_over_a_lane(machine: bm.Machine) -> None:
    pid = machine.call("Basic.pid")
    assert has_lane(machine)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        held = pool.submit(machine.call, "Waits.wait")
        until(lambda: machine.variables()["bigmachine_calls_in_flight"].sum == 1)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(bm.MachineStopped, match="SIGKILL"):
            held.result(60)


@pytest.mark.long
def test_machine_that_hangs_ends_a_call_over_a_lane() -> None:
    with bm.Session("local", keepalive_timeout=3.0) as session:
        [machine] = session.start(1, services=SERVICES)
        await_lane(machine)
        pid = machine.call("Basic.pid")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            held = pool.submit(machine.call, "Waits.wait")
            until(lambda: machine.variables()["bigmachine_calls_in_flight"].sum == 1)
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(bm.MachineStopped) as caught:
                held.result(60)
    assert caught.value.reason is bm.StopReason.KEEPALIVE


@pytest.mark.long
def test_parallel_method_and_large_arrays_go_over_a_lane(machine: bm.Machine) -> None:
    assert machine.call("Parallel.pid") not in (os.getpid(), machine.call("Basic.pid"))
    array = np.arange(2 << 20)
    assert np.array_equal(machine.call("Basic.echo", array), array)
    assert has_lane(machine)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_forked_child_of_a_machine_does_not_keep_its_lanes_open(machine: bm.Machine) -> None:
    child = machine.call("Forks.fork")
    assert machine.call("Where.where") == LANE

    def has_connections() -> bool:
        files = set()
        for number in os.listdir(f"/proc/{child}/fd"):
            with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                files.add(os.readlink(f"/proc/{child}/fd/{number}"))
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return bool(files & {f"socket:[{line.split()[9]}]" for line in lines})

    until(lambda: not has_connections())  # a child that has just begun has not closed them yet
    os.kill(child, signal.SIGKILL)
