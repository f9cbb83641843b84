"""Large services without shared memory: the driver sends them once, machines pass them on."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import trio

import bigmachine as bm
from bigmachine.machine.supervisor import _service_batch as service_batch
from bigmachine.machine.supervisor._client import supervisor
from tests.integration.local.test_shared_memory import VARIABLE

pytestmark = pytest.mark.long

SIZE = 48 << 20


class Model:
    def __init__(self) -> None:
        self.array = np.arange(SIZE // 8)

    def total(self) -> int:
        return int(self.array.sum())


TOTAL = Model().total()


@pytest.fixture(autouse=True)
def _relayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    monkeypatch.setattr(service_batch, "LOCAL_RELAYED_BYTES", SIZE // 2)


def run(test: Callable[[bm.AsyncSession], Awaitable[None]]) -> None:
    async def main() -> None:
        async with bm.AsyncSession("local") as session:
            await test(session)

    trio.run(main)


def connection(machine: bm.AsyncMachine) -> Any:
    return machine._controller._link.connection


def sent(machine: bm.AsyncMachine) -> int:
    """How many bytes the driver has sent to a machine."""
    found = connection(machine)
    return found._channel.sent_bytes if found is not None else 0


def test_driver_sends_the_state_of_12_machines_about_once() -> None:
    async def test(session: bm.AsyncSession) -> None:
        machines = await session.start(12, services={"Model": Model()})
        assert [await machine.call("Model.total") for machine in machines] == [TOTAL] * 12
        assert SIZE < sum(map(sent, machines)) < 1.5 * SIZE

    run(test)


def test_machine_that_is_killed_while_it_passes_a_service_on_is_passed_over() -> None:
    async def test(session: bm.AsyncSession) -> None:
        machines = await session.start(4, services={"Model": Model()}, wait=False)
        while not (first := [machine for machine in machines if sent(machine) > SIZE // 2]):
            await trio.lowlevel.checkpoint()
        os.kill(await supervisor(connection(first[0])).pid(), signal.SIGKILL)
        await first[0].wait(bm.State.STOPPED)
        for machine in machines:
            await machine.wait(bm.State.RUNNING)
        running = [machine for machine in machines if machine.state == bm.State.RUNNING]
        assert len(running) == 3
        assert [await machine.call("Model.total") for machine in running] == [TOTAL] * len(running)

    run(test)


class Limit:
    """Lets the machine write no large files, also in memory."""

    def setup(self, session: bm.PeerSession) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 4, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="only there has memory such a limit")
def test_machines_that_can_keep_nothing_for_others_are_served_by_the_driver() -> None:
    async def test(session: bm.AsyncSession) -> None:
        machines = await session.start(4, services={"Limit": Limit(), "Model": Model()})
        assert [await machine.call("Model.total") for machine in machines] == [TOTAL] * 4

    run(test)
