"""What is in flight when a session ends, or a machine stops; and use from many threads."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import trio
import trio.testing

import bigmachine as bm
from bigmachine.testing import InProcessOptions, InProcessSystem
from tests.support.waiting import until

over = threading.Event()  # of a test; in-process machines share this module


class Work:
    def setup(self, session: bm.PeerSession) -> None:
        self.begun = 0

    def add(self, a: int, b: int = 0) -> int:
        return a + b

    async def hang(self) -> None:
        self.begun += 1
        await trio.sleep_forever()

    def wait(self) -> None:
        self.begun += 1
        over.wait(60)

    async def items(self) -> AsyncIterator[int]:
        self.begun += 1
        yield 1
        await trio.sleep_forever()

    def read(self, items: Iterator[int]) -> None:
        self.begun += 1
        for _ in items:
            pass

    async def count_begun(self) -> int:
        return self.begun

    def count(self, n: int) -> Iterator[int]:
        yield from range(n)


class NeverReady(Work):
    async def setup(self, session: bm.AsyncPeerSession) -> None:
        await trio.sleep_forever()


def endless() -> Iterator[int]:
    yield 1
    over.wait(60)


@contextlib.contextmanager
def in_flight(machine: bm.Machine) -> Iterator[dict[str, Future[Any]]]:
    """Calls of all kinds, each in a thread that waits for it, whose methods run."""
    pending = machine.submit("Work.hang")
    notified: Future[Any] = Future()
    pending.add_done_callback(lambda done: notified.set_exception(done.exception()))
    uses: dict[str, Callable[[], object]] = {
        "call": lambda: machine.call("Work.hang"),
        "def": lambda: machine.call("Work.wait"),
        "stream": lambda: [*machine.stream("Work.items")],
        "upload": lambda: machine.call("Work.read", endless()),
        "timeout": lambda: machine.with_options(timeout=1e6).call("Work.hang"),
        "retry": lambda: machine.with_options(retry=True, timeout=1e6).call("Work.hang"),
        "stub": lambda: machine.service(Work, "Work").hang(),
        "future": pending.result,
        "callback": notified.result,
        "wait": lambda: raise_first(concurrent.futures.wait([pending]).done),
        "as_completed": lambda: raise_first(concurrent.futures.as_completed([pending])),
    }
    over.clear()
    with ThreadPoolExecutor(len(uses)) as threads:
        futures = {name: threads.submit(use) for name, use in uses.items()}
        until(lambda: machine.call("Work.count_begun") >= 8)
        yield futures
    over.set()


def raise_first(futures: Any) -> None:
    for future in futures:
        future.result(0)


@pytest.mark.parametrize("end", ["session", "machine", "cancel", "kill"])
def test_all_that_is_in_flight_ends_with_reason_of_stop(end):
    system = InProcessSystem(InProcessOptions(maxprocs=2))
    reason = {
        "session": bm.StopReason.SHUTDOWN,
        "machine": bm.StopReason.SHUTDOWN,
        "cancel": bm.StopReason.CANCELLED,
        "kill": bm.StopReason.EXITED,
    }[end]
    with bm.Session(system) as session:
        [machine] = session.start(1, services={"Work": Work()})
        with in_flight(machine) as futures:
            if end == "session":
                session.shutdown()
            elif end == "machine":
                machine.shutdown()
            elif end == "cancel":
                machine.cancel()
            else:
                system.kill(machine)
            errors = {name: future.exception(60) for name, future in futures.items()}
    assert {name: type(error) for name, error in errors.items()} == dict.fromkeys(
        errors, bm.MachineStopped
    )
    assert {error.reason for error in errors.values()} == {reason}


def test_machine_of_closed_session_raises_machine_stopped_for_all_uses():
    with bm.Session(InProcessSystem()) as session:
        [machine] = session.start(1, services={"Work": Work()})
        stream, unread = machine.stream("Work.count", 10**6), machine.stream("Work.count", 3)
        assert next(stream) == 0
    for use in (
        lambda: machine.call("Work.add", 1),
        lambda: machine.submit("Work.add", 1),
        lambda: next(machine.stream("Work.count", 3)),
        lambda: next(unread),
        lambda: [*stream],
        lambda: machine.service(Work, "Work").add(1),
        lambda: machine.with_options(timeout=5, retry=True).call("Work.add", 1),
        machine.memory,
        machine.disk,
        machine.load,
    ):
        with pytest.raises(bm.MachineStopped) as caught:
            use()
        assert type(caught.value) is bm.MachineStopped
        assert caught.value.reason is bm.StopReason.SHUTDOWN
    for harmless in (machine.cancel, machine.shutdown, stream.close, machine.wait):
        harmless()
    machine.wait(bm.State.STOPPED)
    for use in (lambda: session.connect(machine.addr), lambda: session.start(1, services={"W": 1})):
        with pytest.raises(bm.UsageError, match="the session is shut down") as refused:
            use()
        assert type(refused.value) is bm.UsageError


def test_start_and_waiting_calls_of_ending_session_are_refused_with_reason():
    session = bm.Session(InProcessSystem())
    [machine] = session.start(1, services={"Work": NeverReady()}, wait=False)
    waiting = machine.submit("Work.add", 1)
    with ThreadPoolExecutor() as threads:
        starting = threads.submit(session.start, 1, services={"Work": NeverReady()})
        until(lambda: len(session.machines) == 2)
        session.shutdown()
        with pytest.raises(bm.UsageError, match="the session is shut down"):
            starting.result(60)
    with pytest.raises(bm.MachineStopped):
        waiting.result(60)


def test_calls_in_trio_that_outlive_their_session_end_with_reason():
    async def test():
        errors: list[BaseException] = []

        async def use(function: Callable[[], Any]) -> None:
            try:
                await function()
            except bm.MachineStopped as exc:
                errors.append(exc)

        async def read() -> None:
            async for _ in machine.stream("Work.items"):
                pass

        async with (
            trio.open_nursery() as nursery,
            bm.AsyncSession(InProcessSystem()) as session,
        ):
            [machine] = await session.start(1, services={"Work": Work()})
            nursery.start_soon(use, lambda: machine.call("Work.hang"))
            nursery.start_soon(use, read)
            while await machine.call("Work.count_begun") < 2:
                pass
        assert [error.reason for error in errors] == [bm.StopReason.SHUTDOWN] * 2

    trio.run(test)


# -- many threads --------------------------------------------------------------


@pytest.fixture(scope="module")
def machine() -> Iterator[bm.Machine]:
    with bm.Session(InProcessSystem()) as session:
        [machine] = session.start(1, services={"Work": Work()})
        yield machine


def test_machine_may_be_used_from_many_threads(machine):
    together = threading.Barrier(8)

    def use(i: int) -> int:
        together.wait(60)
        limited = machine.with_options(timeout=60)
        futures = [machine.submit("Work.add", i, n) for n in range(20)]
        assert sum(machine.stream("Work.count", 20)) == 190
        assert machine.call("Work.add", i) == i
        assert limited.call("Work.add", i) == i
        assert [future.result(60) for future in futures] == [i + n for n in range(20)]
        assert machine.memory().total_bytes
        assert len(machine.keepalive_reply_times) + len(machine.notices) >= 0
        return i

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(use, range(8))] == [*range(8)]


def test_threads_that_share_stream_get_each_item_once(machine):
    stream = machine.stream("Work.count", 5000)
    with ThreadPoolExecutor(8) as threads:
        parts = [*threads.map(lambda _: [*stream], range(8))]
    assert sorted(item for part in parts for item in part) == [*range(5000)]


@pytest.mark.parametrize("items", [0, 1])
def test_stream_closed_by_another_thread_ends(machine, items):
    stream = machine.stream("Work.items")
    for _ in range(items):
        next(stream)
    before = machine.call("Work.count_begun")
    with ThreadPoolExecutor() as threads:
        reading = threads.submit(list, stream)
        if not items:
            until(lambda: machine.call("Work.count_begun") > before)
        stream.close()
        assert len(reading.result(60)) <= 1
    assert list(stream) == []


def test_second_task_that_reads_stream_is_refused():
    async def test():
        async with bm.AsyncSession(InProcessSystem()) as session:
            [machine] = await session.start(1, services={"Work": Work()})
            stream = machine.stream("Work.items")
            assert repr(stream) == "<Stream of Work.items on m0, not begun>"
            assert await anext(stream) == 1
            assert repr(stream) == "<Stream of Work.items on m0, open>"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect, stream)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(bm.UsageError, match="another task waits for its next item"):
                    await anext(stream)
                await stream.aclose()
            assert repr(stream) == "<Stream of Work.items on m0, closed>"

    trio.run(test)


def test_stream_closed_while_it_opens_never_begins():
    async def test():
        async with bm.AsyncSession(InProcessSystem()) as session:
            [machine] = await session.start(1, services={"Work": NeverReady()}, wait=False)
            stream = machine.stream("Work.items")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect, stream)
                await trio.testing.wait_all_tasks_blocked()
                await stream.aclose()

    trio.run(test)


async def collect(stream: bm.AsyncStream) -> list[Any]:
    return [item async for item in stream]


def test_done_future_is_freed_without_garbage_collector(machine):
    gc.disable()
    try:
        for submit in (machine.submit, machine.with_options(timeout=60).submit):
            future = submit("Work.add", 1)
            future.add_done_callback(lambda _: None)
            assert future.result(60) == 1
            reference = weakref.ref(future)
            del future
            until(lambda reference=reference: reference() is None)
    finally:
        gc.enable()
