"""Large buffers to and from machines of this host: by memory that both map, however either ends."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bigmachine as bm
from tests.support.drivers import driver
from tests.support.sockets import Where, await_lane
from tests.support.waiting import until

if sys.platform != "linux":
    pytest.skip("only Linux has memfds", allow_module_level=True)

VARIABLE = "BIGMACHINE_SHARED_MEMORY"


class Keeper:
    def __init__(self) -> None:
        self.kept: Any = None

    def keep(self, array: Any) -> None:
        self.kept = array

    def give(self) -> Any:
        return np.full(1 << 20, 7.0)

    def drop(self) -> None:
        self.kept = None

    def pid(self) -> int:
        return os.getpid()

    @bm.parallel
    def total(self, array: Any) -> tuple[float, Any]:
        return float(array.sum()), 2 * array


SERVICES = {"Keeper": Keeper(), "Where": Where()}


def shared(pid: int | str) -> set[str]:
    """The inodes of the memory that a process maps, or has descriptors of."""
    found = set()
    with contextlib.suppress(OSError):  # it has ended
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if "/memfd:bigmachine " in line:
                found.add(line.split()[4])
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if "/memfd:bigmachine " in os.readlink(link):
                    found.add(str(link.stat().st_ino))
    return found


def everywhere() -> set[str]:
    """The inodes of all such memory on this host."""
    pids = [path.name for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return set().union(*map(shared, pids))


@pytest.fixture(scope="module")
def session() -> Iterator[bm.Session]:
    with bm.Session("local", maxprocs=2) as session:
        yield session


@pytest.fixture
def machine(session: bm.Session) -> Iterator[bm.Machine]:
    [machine] = session.start(1, services=SERVICES)
    yield machine
    machine.shutdown()


def test_large_array_is_shared_and_freed_when_both_have_let_go(machine: bm.Machine) -> None:
    pid = machine.call("Keeper.pid")
    machine.call("Keeper.keep", np.ones(1 << 20))
    until(lambda: not shared(os.getpid()))
    assert len(shared(pid)) == 1
    result = machine.call("Keeper.give")
    mine = shared(os.getpid())
    assert len(mine) == 1
    until(lambda: len(shared(pid)) == 1)
    machine.call("Keeper.drop")
    until(lambda: not shared(pid))
    del result
    gc.collect()
    machine.call("Keeper.drop")  # the loop has done something else since
    until(lambda: not shared(os.getpid()))  # a thread frees what is large
    assert not everywhere() & mine


@pytest.mark.long
def test_machine_that_is_killed_leaves_results_and_no_memory(machine: bm.Machine) -> None:
    await_lane(machine)
    pid = machine.call("Keeper.pid")
    machine.call("Keeper.keep", np.ones(1 << 20))
    result = machine.call("Keeper.give")
    known = shared(os.getpid()) | shared(pid)
    assert len(known) == 2
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(bm.MachineStopped):
        machine.call("Keeper.pid")
    assert result.sum() == 7.0 * (1 << 20)
    del result
    gc.collect()
    until(lambda: not everywhere() & known)


DRIVER = """
import os, sys
import numpy as np
import bigmachine as bm
from tests.integration.local.test_shared_memory import SERVICES, shared

if __name__ == "__main__":
    with bm.Session("local") as session:
        [machine] = session.start(1, services=SERVICES)
        pid = machine.call("Keeper.pid")
        machine.call("Keeper.keep", np.ones(1 << 20))
        result = machine.call("Keeper.give")
        print(pid, *shared(pid), *shared(os.getpid()), flush=True)
        input()
"""


@pytest.mark.long
def test_driver_that_is_killed_leaves_no_memory(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(DRIVER)
    with driver(str(script), environ={"PYTHONPATH": os.getcwd()}) as process:
        pid, *inodes = process.read_line().split()
        known = set(inodes)
        assert len(known) == 2
        assert everywhere() >= known
        process.kill()
        until(lambda: not Path(f"/proc/{pid}").exists())
        until(lambda: not everywhere() & known)


@pytest.mark.long
def test_parallel_methods_get_and_give_large_arrays(machine: bm.Machine) -> None:
    array = np.ones(1 << 20)
    for _ in range(3):
        total, doubled = machine.call("Keeper.total", array)
        assert total == 1 << 20
        assert np.array_equal(doubled, 2 * array)


@pytest.mark.long
def test_many_large_calls_at_a_time_give_their_own_results(machine: bm.Machine) -> None:
    array = np.arange(1 << 19)
    futures = [machine.submit("Keeper.total", array + n) for n in range(40)]
    for n, future in enumerate(futures):
        total, doubled = future.result(60)
        assert total == (array + n).sum()
        assert np.array_equal(doubled, 2 * (array + n))


def test_switch_keeps_large_arrays_on_the_wire(
    session: bm.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "never")
    with pytest.raises(bm.UsageError, match=re.escape(f"{VARIABLE}: must be on or off")):
        session.start(1, services=SERVICES)
    monkeypatch.setenv(VARIABLE, "0")
    [machine] = session.start(1, services=SERVICES)
    monkeypatch.delenv(VARIABLE)  # the machine has its own
    until(lambda: not shared(os.getpid()))  # what tests before have left
    machine.call("Keeper.keep", np.ones(1 << 20))
    assert machine.call("Keeper.give")[-1] == 7.0
    assert not shared(machine.call("Keeper.pid")) | shared(os.getpid())
    machine.shutdown()
