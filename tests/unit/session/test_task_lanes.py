"""What becomes of a trio task's call over a lane."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import bigmachine as bm
from bigmachine.testing import InProcessOptions
from tests.support.sockets import LANE, SocketSystem, Where
from tests.support.waiting import eventually

over = threading.Event()  # of a test; in-process machines share this module


class Work(Where):
    async def setup(self, session: bm.AsyncPeerSession) -> None:
        self.session = session
        self.held: list[str] = []

    def hold(self) -> None:
        self.held.append(self.where())
        over.wait(600)

    @bm.concurrent
    def where_held(self) -> list[str]:
        return self.held

    @bm.exclusive
    async def call_itself(self, addr: str) -> str:
        machine = await self.session.connect(addr)
        while (where := await machine.call("Work.alone")) != LANE:
            pass
        return str(where)

    @bm.exclusive
    def alone(self) -> str:
        return self.where()


@asynccontextmanager
async def running() -> AsyncIterator[tuple[SocketSystem, bm.AsyncSession, bm.AsyncMachine]]:
    system = SocketSystem(InProcessOptions(maxprocs=1))
    over.clear()
    try:
        async with bm.AsyncSession(system) as session:
            [machine] = await session.start(1, services={"Work": Work()})
            with trio.fail_after(60):
                while await machine.call("Work.where") != LANE:
                    pass
            yield system, session, machine
    finally:
        over.set()  # no thread is left to the next test


async def hold(machine: bm.AsyncMachine) -> list[BaseException]:
    """Begin a call that waits, over a lane; return where its error will be."""
    found: list[BaseException] = []

    async def call() -> None:
        try:
            await machine.call("Work.hold")
        except bm.BigmachineError as exc:
            found.append(exc)

    connection = machine._controller.connection
    assert connection is not None
    trio.lowlevel.spawn_system_task(call)
    await eventually(lambda: connection.is_in_use)  # else the next call may take the only lane
    with trio.fail_after(60):
        while await machine.call("Work.where_held") != [LANE]:
            pass
    return found


Session, Machine = bm.AsyncSession, bm.AsyncMachine
ENDS: dict[str, Callable[[SocketSystem, Session, Machine], Awaitable[Any]]] = {
    "it is killed": lambda system, session, machine: trio.to_thread.run_sync(system.kill, machine),
    "it is shut down": lambda system, session, machine: machine.shutdown(),
    "the session ends": lambda system, session, machine: session.shutdown(),
}


@pytest.mark.parametrize("end", ENDS)
def test_call_ends_with_its_machine(end: str) -> None:
    async def main() -> None:
        async with running() as (system, session, machine):
            found = await hold(machine)
            await ENDS[end](system, session, machine)
            await eventually(lambda: found)
            assert isinstance(found[0], bm.MachineStopped)

    trio.run(main)


def test_call_ends_when_its_time_is_over_and_gives_its_place_up() -> None:
    async def main() -> None:
        async with running() as (_, _, machine):
            with pytest.raises(bm.CallTimeout, match="and was cancelled"):
                await machine.with_options(timeout=0.05).call("Work.hold")
            assert await machine.call("Work.where")  # there is one place

    trio.run(main)


def test_lane_that_breaks_ends_its_call_and_no_other() -> None:
    async def main() -> None:
        async with running() as (system, _, machine):
            found = await hold(machine)
            system.break_lanes()
            await eventually(lambda: found)
            assert isinstance(found[0], bm.TransportError)
            assert "may or may not have run" in str(found[0])
            assert machine.state == bm.State.RUNNING
            # Another lane may have broken, too.
            assert await machine.with_options(retry=True).call("Work.where")

    trio.run(main)


def test_exclusive_method_lets_others_run_while_it_waits_for_a_lane() -> None:
    async def main() -> None:
        async with running() as (_, _, machine):
            with trio.fail_after(60):
                assert await machine.call("Work.call_itself", machine.addr) == LANE

    trio.run(main)
