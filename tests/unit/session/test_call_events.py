"""What observers are told of calls: by the sync API, by tasks, and by streams."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import trio
import trio.testing

import bigmachine as bm
from bigmachine.testing import InProcessSystem
from tests.support.services import Flaky
from tests.support.waiting import until

request = contextvars.ContextVar("request", default="none")


class Work(Flaky):
    def size(self, data: bytes) -> int:
        return len(data)

    def fail(self) -> None:
        raise LookupError("no such row")

    def blob(self, size: int) -> bytes:
        return bytes(size)

    def count(self, n: int) -> Iterator[int]:
        yield from range(n)

    async def endless(self) -> AsyncIterator[int]:
        yield 1
        await trio.sleep_forever()

    def break_off(self) -> Iterator[int]:
        yield 1
        raise LookupError("no such row")


class Watch:
    """Keeps what it is told, and in which context it is told that a call starts."""

    def __init__(self) -> None:
        self.started: dict[int, bm.CallStarted] = {}
        self.ended: list[bm.CallEnded] = []
        self.contexts: list[str] = []
        self.threads: set[int] = set()

    @bm.hookimpl
    def call_started(self, call: bm.CallStarted) -> None:
        self.started[call.number] = call
        self.contexts.append(request.get())

    @bm.hookimpl
    def call_ended(self, call: bm.CallEnded) -> None:
        self.ended.append(call)
        self.threads.add(threading.get_ident())

    def only(self) -> bm.CallEnded:
        """The one call since the last time; it has ended."""
        [call] = until(lambda: self.ended)
        self.ended = []
        started = self.started.pop(call.number)
        fields = ("machine", "addr", "method", "is_stream", "sent_bytes")
        assert all(getattr(started, name) == getattr(call, name) for name in fields)
        assert not self.started
        return call


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def system() -> InProcessSystem:
    return InProcessSystem()


@pytest.fixture(scope="module")
def machine(watch: Watch, system: InProcessSystem) -> Iterator[bm.Machine]:
    with bm.Session(system, plugins=[watch]) as session:
        yield session.start(1, services={"Work": Work()})[0]


def test_returned_call_is_told_with_its_sizes_before_its_caller_goes_on(
    watch: Watch, machine: bm.Machine
) -> None:
    assert machine.call("Work.size", bytes(5000)) == 5000
    assert len(watch.ended) == 1
    call = watch.only()
    assert (call.method, call.machine, call.addr) == ("Work.size", machine.name, machine.addr)
    assert (call.outcome, call.error, call.attempts) == ("returned", None, 1)
    assert (call.is_stream, call.items) == (False, None)
    assert 5000 < call.sent_bytes < 5200
    assert 0 < call.received_bytes < 100
    assert call.seconds > 0
    assert machine.submit("Work.blob", 200_000).result() == bytes(200_000)
    assert 200_000 <= watch.only().received_bytes < 200_500
    assert threading.get_ident() not in watch.threads


def test_outcome_of_call_says_why_it_has_no_result(watch: Watch, machine: bm.Machine) -> None:
    with pytest.raises(LookupError):
        machine.call("Work.fail")
    call = watch.only()
    assert (call.outcome, repr(call.error)) == ("raised", "LookupError('no such row')")
    with pytest.raises(bm.CallTimeout):
        machine.with_options(timeout=0.01).call("Work.forever")
    call = watch.only()
    assert call.outcome == "timeout"
    assert isinstance(call.error, bm.CallTimeout)
    with pytest.raises(bm.UsageError):
        machine.call("Work.sizes", b"")
    assert watch.only().outcome == "failed"
    future = machine.submit("Work.forever")
    until(future.running)
    future.cancel()
    assert (watch.only().outcome, watch.ended) == ("cancelled", [])


def test_repeated_call_is_one_call_with_its_attempts(
    watch: Watch, machine: bm.Machine, system: InProcessSystem
) -> None:
    Flaky.lose_connection = staticmethod(lambda: system.reset(machine.name))
    assert machine.with_options(retry=True).call("Work.flaky", 2) == 3
    assert watch.only().attempts == 3


def test_stream_is_one_call_from_its_first_item_to_its_last(
    watch: Watch, machine: bm.Machine
) -> None:
    stream = machine.stream("Work.count", 100)
    assert watch.started == {}
    assert list(stream) == [*range(100)]
    call = watch.only()
    assert (call.outcome, call.is_stream, call.items) == ("returned", True, 100)
    assert 100 < call.received_bytes < 10_000
    with pytest.raises(LookupError):
        list(machine.stream("Work.break_off"))
    assert watch.only().outcome == "raised"
    with pytest.raises(bm.UsageError):
        list(machine.stream("Work.size", b""))
    assert watch.only().outcome == "failed"
    with pytest.raises(bm.CallTimeout):
        list(machine.with_options(timeout=0.5).stream("Work.endless"))
    assert watch.only().outcome == "timeout"
    with machine.stream("Work.endless") as stream:
        assert next(stream) == 1
    call = watch.only()
    assert (call.outcome, call.error, call.items) == ("cancelled", None, 1)
    stream = machine.stream("Work.endless")
    assert next(stream) == 1
    del stream
    assert watch.only().outcome == "cancelled"
    machine.stream("Work.endless").close()
    assert watch.started == {}


def test_observer_runs_in_context_of_caller(watch: Watch, machine: bm.Machine) -> None:
    watch.contexts.clear()
    token = request.set("r1")
    try:
        machine.call("Work.size", b"")
        stream = machine.stream("Work.count", 2)
    finally:
        request.reset(token)
    assert list(stream) == [0, 1]  # it starts in the loop, for a caller that may be another
    machine.submit("Work.size", b"").result()
    assert watch.contexts == ["r1", "r1", "none"]
    watch.ended.clear()
    watch.started.clear()


def test_machines_own_methods_are_not_told(watch: Watch, machine: bm.Machine) -> None:
    machine.memory()
    machine.variables()
    assert watch.started == {}


def test_calls_of_tasks_are_told_and_observer_that_raises_is_removed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Raising:
        @bm.hookimpl
        def call_started(self) -> dict[str, str]:
            raise RuntimeError("not today")

        @bm.hookimpl
        def call_ended(self) -> None:
            raise AssertionError("it was removed")

    async def main() -> None:
        async with bm.AsyncSession(InProcessSystem, plugins=[watch, Raising()]) as session:
            [machine] = await session.start(1, services={"Work": Work()})
            assert await machine.call("Work.size", b"1") == 1
            assert watch.only().outcome == "returned"
            with trio.move_on_after(0.01):
                await machine.call("Work.forever")
            assert watch.only().outcome == "cancelled"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stopped, machine)
                await trio.testing.wait_all_tasks_blocked(0.01)
                machine.cancel()
            assert watch.only().outcome == "stopped"

    async def stopped(machine: bm.AsyncMachine) -> None:
        with pytest.raises(bm.MachineStopped):
            await machine.call("Work.forever")

    watch = Watch()
    with caplog.at_level(logging.ERROR):
        trio.run(main)
    [record] = [record for record in caplog.records if record.name == "bigmachine.plugins"]
    assert "Raising raised an exception at CallStarted(" in record.getMessage()


def test_calls_of_observed_session_fail_with_it(watch: Watch) -> None:
    with bm.Session(InProcessSystem, plugins=[watch]) as session:
        [machine] = session.start(1, services={"Work": Work()})
        pending = machine.submit("Work.forever")
        until(pending.running)
    assert watch.only().outcome == "stopped"
    assert isinstance(pending.exception(), bm.MachineStopped)
    with pytest.raises(bm.MachineStopped):
        machine.call("Work.size", b"")
    assert watch.only().outcome == "stopped"
