"""The large arrays of services: what `start` takes of them, when, and how long it keeps them."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import trio

import bigmachine as bm
from bigmachine.machine.supervisor._service_batch import ServiceBatch
from bigmachine.testing import InProcessOptions, InProcessSystem
from tests.support.clocks import jumping_clock

COUNT = 1 << 16  # half a MiB, which goes out of band


class Model:
    """Has arrays; `setup` is told to wait, to write or to fail."""

    may_set_up = trio.Event()

    def __init__(self, *arrays: Any, fails: bool = False) -> None:
        self.arrays = arrays
        self.fails = fails

    async def setup(self, session: bm.AsyncPeerSession) -> None:
        await Model.may_set_up.wait()
        if self.fails:
            raise ValueError("on purpose")

    async def firsts(self) -> list[float]:
        return [float(array.flat[0]) for array in self.arrays]

    async def write(self) -> None:
        self.arrays[0][0] = 5.0

    async def are_writable(self) -> list[bool]:
        return [array.flags.writeable for array in self.arrays]


@pytest.fixture(autouse=True)
def _may_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "may_set_up", trio.Event())


def run(test: Any) -> None:
    async def bounded() -> None:
        with trio.fail_after(3600):
            async with bm.AsyncSession(InProcessSystem(InProcessOptions())) as session:
                await test(session)

    trio.run(bounded, clock=jumping_clock())


def test_each_machine_has_its_own_arrays_as_writable_as_they_were() -> None:
    async def test(session: bm.AsyncSession) -> None:
        Model.may_set_up.set()
        fixed = np.full(COUNT, 2.0)
        fixed.flags.writeable = False
        arrays = np.ones(COUNT), fixed, np.full((300, 2), 3.0)[::2], np.zeros(10)
        first, second = await session.start(2, services={"Model": Model(*arrays)})
        assert await first.call("Model.are_writable") == [True, False, True, True]
        await first.call("Model.write")
        assert await first.call("Model.firsts") == [5.0, 2.0, 3.0, 0.0]
        assert await second.call("Model.firsts") == [1.0, 2.0, 3.0, 0.0]
        assert arrays[0][0] == 1.0

    run(test)


@pytest.mark.parametrize("switch", ["0", pytest.param("1", marks=pytest.mark.long)])
def test_start_without_wait_has_taken_the_arrays_when_it_returns(
    switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIGMACHINE_SHARED_MEMORY", switch)

    async def test(session: bm.AsyncSession) -> None:
        small, large = np.ones(COUNT), np.ones(40 * COUNT)
        [machine] = await session.start(1, services={"Model": Model(small, large)}, wait=False)
        small[0] = large[0] = 2.0
        Model.may_set_up.set()
        assert await machine.call("Model.firsts") == [1.0, 1.0]

    run(test)


@pytest.mark.parametrize("fails", [True, pytest.param(False, marks=pytest.mark.long)])
def test_driver_keeps_no_array_once_all_machines_have_it_or_have_failed(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "bigmachine")  # so that errors keep our frames

    async def test(session: bm.AsyncSession) -> None:
        Model.may_set_up.set()
        array = np.ones(COUNT)
        kept = weakref.ref(array)
        services = {"Model": Model(array, fails=fails)}
        error: bm.StartError | None = None
        try:
            machines = await session.start(2, services=services)
        except bm.StartError as exc:
            error = exc.with_traceback(None)  # whose frames have the services
        assert (error is not None) is fails
        del services, array
        gc.collect()
        assert kept() is None
        assert fails or await machines[0].call("Model.firsts") == [1.0]

    run(test)


def test_services_of_a_start_are_forgotten_when_its_last_machine_has_left() -> None:
    array = np.ones(COUNT)
    kept = weakref.ref(array)
    batch = ServiceBatch({"Model": Model(array)})
    del array
    for count in (2, 1):
        batch.join()
        assert kept() is not None, count
    batch.leave("one")
    assert kept() is not None
    batch.leave("other")
    gc.collect()
    assert kept() is None


@pytest.mark.long
def test_arrays_are_kept_for_a_machine_whose_connection_is_lost() -> None:
    async def test(session: bm.AsyncSession) -> None:
        assert isinstance(session.system, InProcessSystem)
        services = {"Model": Model(np.ones(COUNT))}
        machines = await session.start(2, services=services, wait=False)
        await trio.sleep(1)  # both are in `setup`
        session.system.reset(machines[0].name)
        await trio.sleep(1)
        Model.may_set_up.set()
        for machine in machines:
            assert await machine.call("Model.firsts") == [1.0]

    run(test)
