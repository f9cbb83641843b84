"""Large services go over the wire about once: machines that start together pass them on."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import trio

import bigmachine as bm
from bigmachine.machine.supervisor import _service_batch as service_batch
from bigmachine.testing import InProcessOptions, InProcessSystem
from tests.support.clocks import jumping_clock
from tests.support.waiting import eventually, until

COUNT = 1 << 17
SIZE = 3 * 8 * COUNT + 5 * 8000  # of the arrays below, in bytes


class Model:
    def __init__(self, *, fails: bool = False) -> None:
        self.odd = np.ones(40_001, np.uint8)
        self.arrays = [np.full(COUNT, float(n)) for n in range(3)]
        self.small = [np.arange(1000) for _ in range(5)]
        self.fails = fails

    async def setup(self, session: bm.AsyncPeerSession) -> None:
        self.arrays[0][:] = 7.0  # which no other machine may see
        if self.fails:
            raise ValueError("on purpose")

    async def sums(self) -> list[float]:
        assert all(array.flags.aligned and array.flags.writeable for array in self.arrays)
        return [float(array.sum()) for array in (self.odd, *self.arrays, *self.small)]


SUMS = [40_001, 7.0 * COUNT, 1.0 * COUNT, 2.0 * COUNT, *[999 * 500] * 5]


class IslandSystem(InProcessSystem):
    """Its machines can't reach each other."""

    def http_client(self, identity: Any) -> Any:
        if self._here is not None:
            raise OSError("there is no way from here")
        return super().http_client(identity)


class Dropping(httpx.AsyncBaseTransport):
    """Has no answer, and no error, as if all packets were dropped."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()


class DroppingSystem(InProcessSystem):
    """Its machines can't reach each other, and don't hear that."""

    def http_client(self, identity: Any) -> Any:
        if self._here is not None:
            return httpx.AsyncClient(transport=Dropping(), timeout=None)
        return super().http_client(identity)


def run(test: Callable[[bm.AsyncSession], Awaitable[None]], **options: Any) -> None:
    system = options.pop("system", InProcessSystem)

    async def bounded() -> None:
        timings = InProcessOptions(keepalive_period=20, keepalive_timeout=100, rpc_timeout=40)
        with trio.fail_after(3600):
            async with bm.AsyncSession(system(timings)) as session:
                await test(session)

    trio.run(bounded, clock=jumping_clock())


@pytest.fixture(autouse=True)
def _relayed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(service_batch, "RELAYED_BYTES", SIZE // 2)
    yield
    until(none_is_left)


def sent(machine: bm.AsyncMachine) -> int:
    """How many bytes the driver has sent to a machine over its present connection."""
    connection = machine._controller._link.connection
    return connection._channel.sent_bytes if connection is not None else 0


async def check(machines: list[bm.AsyncMachine]) -> None:
    for machine in machines:
        assert await machine.call("Model.sums") == SUMS


async def with_fault(
    session: bm.AsyncSession, count: int, inject: Callable[[InProcessSystem, str], object]
) -> list[bm.AsyncMachine]:
    """Start machines; ``inject`` a fault into the first one when it has half of the service."""
    machines = await session.start(count, services={"Model": Model()}, wait=False)
    while not (first := [machine for machine in machines if sent(machine) > SIZE // 2]):
        assert not any(machine.state == bm.State.RUNNING for machine in machines)
        await trio.lowlevel.checkpoint()
    assert isinstance(session.system, InProcessSystem)
    inject(session.system, first[0].name)
    for machine in machines:
        await machine.wait(bm.State.RUNNING)
    return machines


async def all_but_one(
    session: bm.AsyncSession, inject: Callable[[InProcessSystem, str], object]
) -> list[bm.AsyncMachine]:
    """Do so with six machines; return the five that run, and have the service."""
    machines = await with_fault(session, 6, inject)
    running = [machine for machine in machines if machine.state == bm.State.RUNNING]
    assert len(running) == 5
    await check(running)
    return running


def none_is_left() -> bool:
    gc.collect()
    return sys.platform != "linux" or files() == 0


def files() -> int:
    """How many descriptors this process, which has all machines, has of such services."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # a thread has closed it
            found += "memfd:bigmachine-service" in os.readlink(f"/proc/self/fd/{number}")
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists a process's memfds")
def test_driver_sends_a_large_service_once_and_machines_keep_no_second_copy() -> None:
    async def test(session: bm.AsyncSession) -> None:
        machines = await session.start(4, services={"Model": Model()})
        assert SIZE < sum(map(sent, machines)) < 1.2 * SIZE
        await check(machines)
        # What is mapped has one.
        await eventually(lambda: files() == 4)

    run(test)


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 5])
def test_small_services_and_few_machines_are_served_by_the_driver(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if count > 2:
        monkeypatch.setattr(service_batch, "RELAYED_BYTES", 2 * SIZE)

    async def test(session: bm.AsyncSession) -> None:
        machines = await session.start(count, services={"Model": Model()})
        assert all(SIZE < sent(machine) < 1.2 * SIZE for machine in machines)
        await check(machines)

    run(test)


@pytest.mark.long
def test_failure_of_a_service_that_was_passed_on_names_its_phase() -> None:
    async def test(session: bm.AsyncSession) -> None:
        with pytest.raises(bm.StartError, match="phase service 'Model': ValueError: on purpose"):
            await session.start(4, services={"Model": Model(fails=True)})

    run(test)


@pytest.mark.long
def test_other_machines_start_if_the_one_that_passes_a_service_on_dies() -> None:
    async def test(session: bm.AsyncSession) -> None:
        running = await all_but_one(session, lambda system, name: system.kill(name))
        assert sum(map(sent, running)) < 1.2 * SIZE

    run(test)


@pytest.mark.long
def test_other_machines_start_if_the_one_that_passes_a_service_on_is_cut_off() -> None:
    async def test(session: bm.AsyncSession) -> None:
        await all_but_one(session, lambda system, name: system.partition(name))

    run(test)


@pytest.mark.long
def test_machine_that_passes_a_service_on_may_lose_its_connections() -> None:
    async def test(session: bm.AsyncSession) -> None:
        machines = await with_fault(session, 6, lambda system, name: system.reset(name))
        await check(machines)
        assert sum(map(sent, machines)) < 1.7 * SIZE

    run(test)


@pytest.mark.long
def test_driver_serves_machines_that_cannot_reach_each_other() -> None:
    async def test(session: bm.AsyncSession) -> None:
        machines = await session.start(6, services={"Model": Model()})
        await check(machines)
        assert sum(map(sent, machines)) > 5 * SIZE

    run(test, system=IslandSystem)


@pytest.mark.long
@pytest.mark.parametrize("count", [3, 6])
def test_network_that_drops_packets_between_machines_costs_few_seconds_once(count: int) -> None:
    async def test(session: bm.AsyncSession) -> None:
        seconds = []
        for _ in range(3):
            began = trio.current_time()
            await check(await session.start(count, services={"Model": Model()}))
            seconds.append(trio.current_time() - began)
        assert seconds[0] < 5
        assert seconds[2] < 1

    run(test, system=DroppingSystem)


@pytest.mark.long
def test_machines_of_two_starts_and_of_two_large_services_get_their_own() -> None:
    async def test(session: bm.AsyncSession) -> None:
        async def start() -> None:
            machines = await session.start(3, services={"Model": Model(), "Other": Model()})
            await check(machines)
            for machine in machines:
                assert await machine.call("Other.sums") == SUMS

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(start)

    run(test)


class Waiting(Model):
    """The last of three machines waits in ``setup``."""

    others = 2
    may_end = trio.Event()

    async def setup(self, session: bm.AsyncPeerSession) -> None:
        Waiting.others -= 1
        if Waiting.others < 0:
            await Waiting.may_end.wait()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists a process's memfds")
def test_machine_whose_connection_is_lost_is_told_later_to_keep_nothing() -> None:
    async def test(session: bm.AsyncSession) -> None:
        assert isinstance(session.system, InProcessSystem)
        machines = await session.start(3, services={"Model": Waiting()}, wait=False)
        with trio.move_on_after(10):
            for machine in machines:
                await machine.wait(bm.State.RUNNING)
        running = [machine for machine in machines if machine.state == bm.State.RUNNING]
        assert len(running) == 2
        session.system.partition(running[0].name)
        session.system.reset(running[0].name)
        Waiting.may_end.set()
        await trio.sleep(5)
        session.system.heal(running[0].name)
        await eventually(lambda: files() == 3)

    run(test)
