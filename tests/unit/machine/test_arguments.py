"""Arguments are taken when the call is made, and any keyword is the method's own."""

from __future__ import annotations

import contextvars
import functools
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

import bigmachine as bm
from bigmachine.testing import InProcessSystem
from tests.support.services import Flaky

installed = threading.Event()  # in-process machines share this module
who = contextvars.ContextVar("who", default="nobody")


class Work:
    def first(self, values: Any) -> Any:
        return values[0]

    def give(self, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs

    async def give_soon(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        return args, kwargs

    def stream(self, /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        yield args, kwargs

    def anything(self, /, **kwargs: Any) -> dict[str, Any]:
        return kwargs

    def make(self, cls: type, function: object, method: str) -> tuple[type, object, str]:
        return cls, function, method

    def items(self, values: Any) -> list[Any]:
        return list(values)

    async def items_soon(self, values: AsyncIterator[Any]) -> list[Any]:
        return [value async for value in values]


class Late(Work):
    def setup(self, session: bm.PeerSession) -> None:
        assert installed.wait(60)


class AsyncLate(Work):
    async def setup(self, session: bm.AsyncPeerSession) -> None:
        while not installed.is_set():
            await trio.sleep(0.1)


@pytest.fixture(scope="module")
def session() -> Iterator[bm.Session]:
    with bm.Session(InProcessSystem()) as session:
        yield session


@pytest.fixture(scope="module")
def machine(session: bm.Session) -> bm.Machine:
    [machine] = session.start(1, services={"Work": Work()})
    return machine


# -- when they are taken -------------------------------------------------------


def buffers() -> list[Any]:
    """Something of each kind that travels on a way of its own; all change by ``x[0] = 9``."""
    return [
        [1],
        bytearray(b"\1" * 100),
        bytearray(b"\1" * 100_000),
        np.ones(10),
        np.ones(100_000),
        np.asfortranarray(np.ones((300, 300))),
        np.ones(200_000)[::2],
    ]


def test_changes_after_submit_and_stream_do_not_travel(session):
    installed.clear()
    [machine] = session.start(1, services={"Work": Late()}, wait=False)
    values = buffers()
    before = [np.array(value[0]) for value in values]
    futures = [machine.submit("Work.first", value) for value in values]
    stub = machine.service(Work, "Work")
    streams = [machine.stream("Work.stream", value) for value in values]
    streams += [stub.stream(value) for value in values]
    named = [machine.submit("Work.give", value=value) for value in values]
    for value in values:
        value[0] = 9
    installed.set()
    for future, wanted in zip(futures, before, strict=True):
        assert np.array_equal(future.result(60), wanted)
    for stream, wanted in zip(streams, before * 2, strict=True):
        [((value,), _)] = stream
        assert np.array_equal(value[0], wanted)
    for future, wanted in zip(named, before, strict=True):
        assert np.array_equal(future.result(60)[1]["value"][0], wanted)
    machine.shutdown()


def test_array_that_was_submitted_can_be_written_on_machine_and_resized_here(machine):
    array, octets = np.ones(100_000), bytearray(100_000)
    future = machine.submit("Work.give", array, octets)
    array.resize(200_000)  # refused by numpy while somebody else has its memory
    octets.append(1)
    (received, _), _ = future.result(60)
    received[0] = 2
    assert len(received) == 100_000


def test_repeated_call_sends_same_arguments(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services={"Flaky": Flaky()})
            Flaky.lose_connection = functools.partial(kit.system.reset, machine)
            values, result = [1, 2], []

            async def call():
                retrying = machine.with_options(retry=True)
                result.extend(await retrying.call("Flaky.flaky", 1, values))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                while not await machine.with_options(retry=True).call("Flaky.count"):
                    await trio.sleep(0.001)
                values.append(3)
            assert result == [1, 2]

    run(test)


def test_async_call_takes_arguments_before_it_awaits(run):
    async def test(kit):
        async with kit.session() as session:
            installed.clear()
            [machine] = await session.start(1, services={"Work": AsyncLate()}, wait=False)
            values, results = [1], []

            async def call():
                results.append(await machine.call("Work.first", values))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.testing.wait_all_tasks_blocked()  # the call waits for the machine
                values[0] = 9
                installed.set()
            assert results == [1]

    run(test)


def test_unpicklable_argument_is_error_of_call_itself(machine):
    stub = machine.service(Work, "Work")
    for call in (
        functools.partial(machine.call, "Work.give"),
        functools.partial(machine.submit, "Work.give"),
        functools.partial(machine.stream, "Work.stream"),
        stub.give,
        stub.stream,
    ):
        with pytest.raises(bm.UsageError, match=r"argument 1 \(a _thread.lock\) can't be pickled"):
            call(1, threading.Lock())
        with pytest.raises(bm.UsageError, match=r"key \(a _thread.lock\) can't be pickled"):
            call(key=threading.Lock())


# -- keywords ------------------------------------------------------------------

KEYWORDS = {
    "retry": 1, "timeout": 2, "self": 3, "function": 4, "method": 5, "args": 6, "kwargs": 7,
    "cls": 8, "interface": 9, "name": 10, "copy": 11, "call": 12, "first": 13, "run": 14,
    "trio_token": 15, "cancellable": 16, "portal": 17, "options": 18, "fn": 19, "not a name": 20,
}  # fmt: skip


def test_any_keyword_reaches_method(machine):
    stub = machine.service(Work, "Work")
    wanted = ((1,), KEYWORDS)
    assert machine.call("Work.anything", **KEYWORDS) == KEYWORDS
    assert machine.submit("Work.anything", **KEYWORDS).result(60) == KEYWORDS
    assert list(machine.stream("Work.stream", 1, **KEYWORDS)) == [wanted]
    assert stub.anything(**KEYWORDS) == KEYWORDS
    assert list(stub.stream(1, **KEYWORDS)) == [wanted]
    assert (
        machine.with_options(retry=True, timeout=60).call("Work.anything", **KEYWORDS) == KEYWORDS
    )
    assert stub.make(cls=int, function=abs, method="m") == (int, abs, "m")


def test_any_keyword_reaches_method_in_trio(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services={"Work": Work()})
            stub = machine.service(Work, "Work")
            assert await machine.call("Work.anything", **KEYWORDS) == KEYWORDS
            assert await stub.anything(**KEYWORDS) == KEYWORDS
            assert [item async for item in stub.stream(**KEYWORDS)] == [((), KEYWORDS)]

    run(test)


# -- iterators -----------------------------------------------------------------


def names(n: int) -> Iterator[str]:
    yield who.get()
    for i in range(n):
        who.set(str(i))
        yield ""
        yield ""
        yield who.get()


async def async_names(n: int) -> AsyncIterator[str]:
    for name in names(n):
        yield name


def test_iterator_has_context_variables_of_call(machine):
    token = who.set("me")
    try:
        for method in ("Work.items", "Work.items_soon"):
            for source in (names, async_names):
                items = machine.submit(method, source(1000))  # more than a thread reads at once
                wanted = ["me", *(name for n in range(1000) for name in ("", "", str(n)))]
                assert machine.call(method, source(1000)) == wanted
                assert items.result(60) == wanted
        assert who.get() == "me"
    finally:
        who.reset(token)


def test_cursor_for_several_threads_is_streamed(machine):
    with sqlite3.connect(":memory:", check_same_thread=False) as database:
        database.execute("create table t(a)")
        database.executemany("insert into t values(?)", [(n,) for n in range(3)])
        rows = machine.call("Work.items", database.execute("select a from t"))
        assert rows == [(0,), (1,), (2,)]
    database.close()


# -- names ---------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, 5, b"Work.give", "\ud800.give", "x" * 100_000])
def test_what_is_no_name_is_refused_here(machine, name):
    for call in (machine.call, machine.submit, machine.stream):
        with pytest.raises(bm.UsageError, match="a method's name looks like"):
            call(name, 1)
    assert machine.call("Work.give", 1) == ((1,), {})


def test_function_takes_place_of_its_name(machine):
    assert machine.call(Work.give, 1) == ((1,), {})
    assert machine.submit(Work.anything, self=1).result(60) == {"self": 1}
    assert list(machine.stream(Work.stream, 1)) == [((1,), {})]
    with pytest.raises(bm.UsageError, match=r"Late.setup is not a method of any service of m"):
        machine.submit(Late.setup)
