"""Services are installed once on each machine, even if its connections are lost meanwhile."""

from __future__ import annotations

import contextlib
import pickle
import sys
import threading
from typing import Any

import numpy as np
import outcome
import pytest
import trio

import bigmachine as bm
from bigmachine.rpc import dump_service
from bigmachine.testing import InProcessOptions, InProcessSystem
from bigmachine.worker import _installer as installer
from tests.support.clocks import jumping_clock

TIMEOUT = 30.0

needs_processes = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="without a GIL, methods run in threads",
)


class Written:
    """Its ``__setstate__`` writes to its array, wherever it is unpickled."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __setstate__(self, state: Any) -> None:
        self.array = state["array"]
        self.array += 1.0

    @bm.parallel
    def first(self) -> float:
        return float(self.array[0])


class Threads:
    """Knows the thread in which it was unpickled."""

    def __setstate__(self, state: Any) -> None:
        self.unpickled_in = threading.current_thread()

    def __getstate__(self) -> object:
        return True  # so that __setstate__ is called

    def is_same(self) -> bool:
        return self.unpickled_in is threading.current_thread()


class Counted:
    """Counts calls of ``setup``, which wait for the test; machines are in this process."""

    setups = 0
    began = trio.Event()
    may_end = trio.Event()
    error: Exception | None = None

    def __init__(self, text: str = "") -> None:
        self.text = text

    async def setup(self, session: bm.AsyncPeerSession) -> None:
        Counted.setups += 1
        Counted.began.set()
        await Counted.may_end.wait()
        if Counted.error is not None:
            raise Counted.error

    async def say(self) -> str:
        return self.text


@pytest.fixture(autouse=True)
def reset_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("setups", 0), ("error", None)):
        monkeypatch.setattr(Counted, name, value)
    for name in ("began", "may_end"):
        monkeypatch.setattr(Counted, name, trio.Event())


def run(test, *, timeout: float = TIMEOUT) -> None:
    async def bounded() -> None:
        options = InProcessOptions(keepalive_period=5, keepalive_timeout=timeout, rpc_timeout=2)
        with trio.fail_after(3600):
            async with bm.AsyncSession(InProcessSystem(options)) as session:
                await test(session)

    trio.run(bounded, clock=jumping_clock())


async def start_with_fault(session: bm.AsyncSession, inject_fault) -> bm.AsyncMachine:
    """Start a machine, and run ``inject_fault`` while its ``setup`` waits."""
    started: list[outcome.Outcome[list[bm.AsyncMachine]]] = []

    async def start() -> None:
        started.append(await outcome.acapture(session.start, 1, services={"It": Counted("here")}))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        await Counted.began.wait()
        await inject_fault(session.system)
    [machine] = started[0].unwrap()
    return machine


def test_setup_continues_after_lost_connection_and_runs_once():
    async def test(session):
        async def inject_fault(system):
            for _ in range(5):
                system.reset("m0")
                await trio.sleep(3)
            Counted.may_end.set()

        machine = await start_with_fault(session, inject_fault)
        assert await machine.call("It.say") == "here"
        assert Counted.setups == 1

    run(test)


def test_lost_reply_of_setup_is_not_an_error():
    async def test(session):
        async def inject_fault(system):
            system.partition("m0")
            Counted.may_end.set()
            await trio.sleep(1)  # ``setup`` is done, and its reply is not delivered
            system.reset("m0")
            system.heal("m0")

        machine = await start_with_fault(session, inject_fault)
        assert await machine.call("It.say") == "here"
        assert Counted.setups == 1

    run(test)


def test_machine_that_ends_during_setup_is_start_error_with_reason():
    async def test(session):
        async def inject_fault(system):
            system.kill("m0")

        with pytest.raises(bm.StartError, match=r"service 'It'.*InProcessSystem\.kill"):
            await start_with_fault(session, inject_fault)

    run(test)


def test_machine_unreachable_during_setup_stops_after_keepalive_timeout():
    async def test(session):
        async def inject_fault(system):
            system.reset("m0")
            system.partition("m0")

        began = trio.current_time()
        with pytest.raises(bm.StartError, match="m0 stopped"):
            await start_with_fault(session, inject_fault)
        assert TIMEOUT <= trio.current_time() - began <= 2 * TIMEOUT

    run(test)


@pytest.mark.long
def test_start_fails_with_reason_if_each_connection_is_lost_soon():
    async def test(session):
        async def reset_again_and_again() -> None:
            await Counted.began.wait()
            while True:
                session.system.reset("m0")
                await trio.sleep(10)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reset_again_and_again)
            with pytest.raises(bm.StartError, match=r"service 'It'.* lost 30 times in a row"):
                await session.start(1, services={"It": Counted()})
            nursery.cancel_scope.cancel()
        assert Counted.setups == 1
        while await session.system.instances():
            await trio.sleep(1)

    run(test, timeout=3000)


def test_registered_name_accepts_same_service_again_but_no_other():
    async def test(session):
        Counted.may_end.set()
        [machine] = await session.start(1, services={"It": Counted("here")})
        Counted.may_end, Counted.setups = trio.Event(), 0
        same, other = dump_service("New", Counted("one")), dump_service("New", Counted("other"))
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(machine.call, "Supervisor.register", "New", same)
            await Counted.began.wait()
            await trio.sleep(1)
            with pytest.raises(bm.UsageError, match="installed already"):
                await machine.call("Supervisor.register", "New", other)
            Counted.may_end.set()
        await machine.call("Supervisor.register", "New", same)
        with pytest.raises(bm.UsageError, match="installed already"):
            await machine.call("Supervisor.register", "New", other)
        with pytest.raises(bm.UsageError, match="installed already"):
            await machine.call("Supervisor.register", "Supervisor", same)
        assert Counted.setups == 1
        assert await machine.call("New.say") == "one"

    run(test)


class Misused:
    """Its ``setup`` misuses trio."""

    def __init__(self, how: str) -> None:
        self.how = how

    async def setup(self, session: bm.AsyncPeerSession) -> None:
        if self.how == "raises Cancelled":
            with trio.CancelScope() as scope:
                scope.cancel()
                try:
                    await trio.lowlevel.checkpoint()
                except trio.Cancelled as exc:
                    kept = exc
            raise kept
        if self.how == "leaves a nursery open":
            nursery = await trio.open_nursery().__aenter__()
            nursery.start_soon(trio.sleep_forever)
        else:
            trio.move_on_after(0).__enter__()
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("how", ["raises Cancelled", "leaves a cancelled scope open"])
def test_cancelled_of_setup_itself_is_its_error(how: str) -> None:
    async def test(session):
        with pytest.raises(bm.StartError, match=r"service 'It'.*raised trio\.Cancelled"):
            await session.start(1, services={"It": Misused(how)})

    run(test)


@pytest.mark.parametrize("how", ["leaves a cancelled scope open", "leaves a nursery open"])
def test_what_setup_leaves_open_does_not_end_its_machine(how: str) -> None:
    async def test(session):
        Counted.may_end.set()
        [machine] = await session.start(1, services={"It": Counted("here")})
        expected = (
            contextlib.nullcontext()
            if "nursery" in how
            else pytest.raises(bm.UsageError, match="open cancel scopes")
        )
        with expected:
            await machine.call("Supervisor.register", "Bad", dump_service("Bad", Misused(how)))
        await machine.call("Supervisor.register", "New", dump_service("New", Counted("there")))
        assert await machine.call("It.say") == "here"
        assert await machine.call("New.say") == "there"

    run(test)


def test_failed_setup_may_be_repeated_with_another_service():
    async def test(session):
        Counted.may_end.set()
        [machine] = await session.start(1, services={"It": Counted("here")})
        Counted.error = ValueError("on purpose")
        Counted.setups = 0
        for text in ("one", "other"):
            with pytest.raises(ValueError, match="on purpose"):
                await machine.call("Supervisor.register", "New", dump_service("New", Counted(text)))
        Counted.error = None
        await machine.call("Supervisor.register", "New", dump_service("New", Counted("third")))
        assert Counted.setups == 3
        assert await machine.call("New.say") == "third"

    run(test)


def test_method_runs_in_thread_that_has_unpickled_its_service() -> None:
    async def main() -> None:
        async with bm.AsyncSession(InProcessSystem) as session:
            [machine] = await session.start(1, services={"Threads": Threads()})
            assert await machine.call("Threads.is_same")

    trio.run(main)


@needs_processes
def test_processes_get_a_service_as_it_came_whatever_its_unpickling_writes() -> None:
    arrived = pickle.loads(pickle.dumps(dump_service("Written", Written(np.zeros(10_000))), 5))
    service, kept = installer._load("Written", arrived)
    assert isinstance(service, Written)
    assert kept is not None
    assert service.first() == kept.load().first() == 1.0


class Disguised:
    """Unpickles to an object of another class, whose methods run in processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Written, (np.ones(3),)


@needs_processes
def test_processes_serve_what_a_service_is_on_the_machine_and_not_on_the_driver() -> None:
    pickled = dump_service("Disguised", Disguised())
    assert not pickled.is_parallel
    service, kept = installer._load("Disguised", pickle.loads(pickle.dumps(pickled, 5)))
    assert isinstance(service, Written)
    assert kept is not None
    assert kept.load().first() == 1.0
