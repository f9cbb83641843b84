"""Services with large arrays on machines of this host: in memory that all of them map."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bigmachine as bm
from tests.integration.local.test_shared_memory import VARIABLE, shared
from tests.support.waiting import until

if sys.platform != "linux":
    pytest.skip("only Linux has memfds", allow_module_level=True)

MIB = 1 << 20


class Model:
    def __init__(self, *arrays: Any) -> None:
        self.arrays = arrays

    def pid(self) -> int:
        return os.getpid()

    def sums(self) -> list[float]:
        return [float(array.sum()) for array in self.arrays]


class Written(Model):
    """Writes to its array, here and in processes of its own."""

    def setup(self, session: bm.PeerSession) -> None:
        self.arrays[0][:] = 5.0

    @bm.parallel
    def first(self) -> float:
        return float(self.arrays[0][0])

    def first_here(self) -> float:
        return float(self.arrays[0][0])


@pytest.fixture(scope="module")
def session() -> Iterator[bm.Session]:
    with bm.Session("local", maxprocs=1) as session:
        yield session


def test_machines_of_this_host_map_one_copy_and_the_driver_keeps_none(session: bm.Session) -> None:
    arrays = [np.full(n * MIB // 8, float(n)) for n in (20, 3, 1)]
    before = shared(os.getpid())
    machines = session.start(2, services={"Model": Model(*arrays)})
    one, other = [shared(machine.call("Model.pid")) for machine in machines]
    assert len(one) >= 3
    assert other == one
    until(lambda: shared(os.getpid()) <= before)  # a thread frees what is large
    for machine in machines:
        assert machine.call("Model.sums") == [array.sum() for array in arrays]
        machine.shutdown()
    pids = [path.name for path in Path("/proc").iterdir() if path.name.isdecimal()]
    until(lambda: not any(shared(pid) & one for pid in pids))


@pytest.mark.long
def test_machine_without_shared_memory_gets_the_same_as_the_others(session: bm.Session) -> None:
    model = Model(np.ones(3 * MIB), np.arange(MIB))
    for environ in ({VARIABLE: "0"}, {}):
        [machine] = session.start(1, services={"Model": model}, environ=environ)
        assert bool(shared(machine.call("Model.pid"))) is not bool(environ)
        assert machine.call("Model.sums") == [array.sum() for array in model.arrays]
        machine.shutdown()


@pytest.mark.long
@pytest.mark.parametrize("switch", ["0", "1"])
def test_processes_of_parallel_methods_have_the_arrays_that_start_took(
    session: bm.Session, switch: str
) -> None:
    services = {"Written": Written(np.ones(3 * MIB))}
    [machine] = session.start(1, services=services, environ={VARIABLE: switch})
    assert machine.call("Written.first_here") == 5.0
    assert machine.call("Written.first") == 1.0
    machine.shutdown()
