"""Streams of items, from the machine and to it: order, windows, early ends, failures."""

from __future__ import annotations

import codecs
import contextlib
import contextvars
import io
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import pytest
import trio

from bigmachine.errors import BigmachineError, RemoteError, UsageError
from bigmachine.rpc import ConnectionLost
from bigmachine.rpc._frames import HEADER
from bigmachine.rpc._payload import dumps
from bigmachine.rpc._streams import WINDOW_BYTES, IncomingStream, OutgoingStream, item_cost
from bigmachine.rpc.transport._channel import Channel
from bigmachine.rpc.transport._decoder import FrameDecoder
from bigmachine.rpc.transport._outbox import Outbox
from tests.unit.rpc.wires import Open, decoded, memory, run

ITEM = 1 << 18
AHEAD = WINDOW_BYTES // item_cost(ITEM) + 1  # items of that size that a window takes at most


class CustomError(Exception):
    pass


class Streams:
    """One iterator, made in many ways; `made` counts its items, `ended` is set at its end."""

    def __init__(self) -> None:
        self.made = 0
        self.ended = trio.Event()
        self.ended_in: str | None = None
        self.token = trio.lowlevel.current_trio_token()

    def _end(self) -> None:
        self.ended_in = threading.current_thread().name
        self.token.run_sync_soon(self.ended.set)

    def plain(self, count: int, size: int = 0) -> Iterator[Any]:
        try:
            for i in range(count):
                self.made += 1
                yield (i, bytes(size)) if size else i
        finally:
            self._end()

    async def asynchronous(self, count: int, size: int = 0) -> AsyncIterator[Any]:
        try:
            for i in range(count):
                self.made += 1
                yield (i, bytes(size)) if size else i
                await trio.lowlevel.checkpoint()
        finally:
            self._end()

    def returned(self, count: int, size: int = 0) -> Iterator[Any]:
        return self.plain(count, size)

    def returned_asynchronous(self, count: int, size: int = 0) -> AsyncIterator[Any]:
        return self.asynchronous(count, size)

    async def awaited(self, count: int, size: int = 0) -> Iterator[Any]:
        await trio.lowlevel.checkpoint()
        return self.plain(count, size)

    async def awaited_asynchronous(self, count: int, size: int = 0) -> AsyncIterator[Any]:
        return self.asynchronous(count, size)

    def listed(self, count: int) -> Iterator[Any]:
        return iter(list(range(count)))

    def arrays(self, sizes: list[int]) -> Iterator[Any]:
        for size in sizes:
            yield np.full(size, len(sizes), np.uint8)

    async def async_arrays(self, sizes: list[int]) -> AsyncIterator[Any]:
        for size in sizes:
            yield np.full(size, len(sizes), np.uint8)

    def breaks(self, after: int) -> Iterator[int]:
        yield from range(after)
        raise CustomError("on purpose")

    async def async_breaks(self, after: int) -> AsyncIterator[int]:
        for i in range(after):
            yield i
        raise CustomError("on purpose")

    def locks(self) -> Iterator[Any]:
        try:
            yield 1
            yield threading.Lock()
        finally:
            self._end()

    async def async_locks(self) -> AsyncIterator[Any]:
        try:
            yield 1
            yield threading.Lock()
        finally:
            self._end()

    def value(self) -> int:
        return 3

    async def async_value(self) -> int:
        return 3


WAYS = [
    "plain",
    "asynchronous",
    "returned",
    "returned_asynchronous",
    "awaited",
    "awaited_asynchronous",
]


@pytest.mark.parametrize("way", [*WAYS, "listed"])
@pytest.mark.parametrize("count", [0, 1, 500])
def test_every_kind_of_generator_streams_in_order(wire: Open, way: str, count: int) -> None:
    async def main() -> None:
        async with wire(Streams()) as w:
            assert [i async for i in await w.stream(way, count)] == list(range(count))

    run(main)


@pytest.mark.parametrize("way", ["arrays", "async_arrays"])
def test_items_larger_than_window_are_streamed(wire: Open, way: str) -> None:
    async def main() -> None:
        sizes = [10, 2 * WINDOW_BYTES, 0, WINDOW_BYTES - 100, WINDOW_BYTES + 1, 1, 40_000, 100_000]
        async with wire(Streams()) as w:
            found = [item async for item in await w.stream(way, sizes)]
            assert [item.nbytes for item in found] == sizes
            assert all((item == len(sizes)).all() for item in found)

    run(main)


def test_many_streams_and_calls_run_concurrently(wire: Open) -> None:
    async def main() -> None:
        totals: list[int] = []
        async with wire(Streams()) as w:

            async def read(way: str) -> None:
                totals.append(sum([i async for i in await w.stream(way, 200)]))

            async def calls() -> None:
                for _ in range(50):
                    assert await w.call("value") == 3

            async with trio.open_nursery() as nursery:
                for way in WAYS * 5:
                    nursery.start_soon(read, way)
                nursery.start_soon(calls)
        assert totals == [sum(range(200))] * len(WAYS) * 5

    run(main)


@pytest.mark.parametrize("way", WAYS)
def test_producer_is_at_most_one_window_ahead(wire: Open, way: str) -> None:
    async def main() -> None:
        service = Streams()
        async with wire(service) as w:
            stream = await w.stream(way, 10 * AHEAD, ITEM)
            for taken in range(1, 5 * AHEAD):
                number, data = await anext(stream)
                assert number == taken - 1
                assert len(data) == ITEM
                # One more item is made, and waits to be sent.
                assert service.made <= taken + AHEAD + 1
            stream.close()
            await service.ended.wait()

    run(main)


@pytest.mark.parametrize("way", ["plain", "asynchronous"])
def test_small_items_count_towards_window(way: str) -> None:
    async def main() -> None:
        service = Streams()
        async with memory(service) as w:
            stream = await w.stream(way, 100_000)
            await anext(stream)
            # A pickled int has 5 to 20 bytes.
            while service.made < WINDOW_BYTES // item_cost(20):
                await w.call("value")
            for _ in range(20):
                await w.call("value")
            assert service.made <= WINDOW_BYTES // item_cost(5) + 2
            stream.close()
            await service.ended.wait()

    run(main)


def test_stream_that_waits_for_window_holds_no_thread(wire: Open) -> None:
    async def main() -> None:
        service = Streams()
        async with wire(service, maxprocs=1) as w:
            streams = [await w.stream("plain", 10 * AHEAD, ITEM) for _ in range(3)]
            for stream in streams:
                await anext(stream)
            assert await w.call("value") == 3
            for stream in streams:
                stream.close()

    run(main)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("taken", [0, 1, 5])
def test_closing_stream_early_ends_its_generator(wire: Open, way: str, taken: int) -> None:
    async def main() -> None:
        service = Streams()
        async with wire(service) as w:
            stream = await w.stream(way, 1_000_000, 10_000)
            for i in range(taken):
                assert (await anext(stream))[0] == i
            while not service.made:  # the `finally` of a generator that never began doesn't run
                await w.call("value")
            stream.close()
            stream.close()
            await service.ended.wait()
            if way in ("plain", "returned", "awaited"):
                assert service.ended_in is not None
                assert service.ended_in.startswith("bigmachine-")
            with pytest.raises(trio.ClosedResourceError):
                await anext(stream)

    run(main)


@pytest.mark.parametrize("way", WAYS)
def test_lost_connection_ends_generator_and_iteration(wire: Open, way: str) -> None:
    async def main() -> None:
        service = Streams()
        async with wire(service) as w:
            stream = await w.stream(way, 1_000_000, 10_000)
            await anext(stream)
            w.cut()
            with pytest.raises(ConnectionLost):
                async for _ in stream:
                    pass
            await service.ended.wait()

    run(main)


def test_closing_server_ends_its_generators() -> None:
    from bigmachine.rpc import FrameConnection, dial, http_client
    from tests.unit.rpc.wires import DRIVER, MACHINE, serving

    async def main() -> None:
        service = Streams()
        async with http_client(DRIVER) as http, trio.open_nursery() as nursery:
            async with serving(service) as (_, address):
                dialled = dial(http, f"https://{address}#{MACHINE.name}")
                connection = await dialled.__aenter__()
                assert isinstance(connection, FrameConnection)
                nursery.start_soon(connection.run)
                stream = await connection.stream("S.plain", (1_000_000, 10_000), {})
                await anext(stream)
            await service.ended.wait()
            await dialled.__aexit__(None, None, None)

    run(main)


@pytest.mark.parametrize("way", ["breaks", "async_breaks"])
@pytest.mark.parametrize("after", [0, 3])
def test_exception_of_generator_arrives_after_its_items(wire: Open, way: str, after: int) -> None:
    async def main() -> None:
        async with wire(Streams()) as w:
            stream = await w.stream(way, after)
            for i in range(after):
                assert await anext(stream) == i
            with pytest.raises(CustomError, match="on purpose") as error:
                await anext(stream)
            assert isinstance(error.value.__cause__, RemoteError)
            assert way in error.value.__cause__.traceback
            assert error.value.__cause__.method == f"S.{way}"

    run(main)


@pytest.mark.parametrize("way", ["locks", "async_locks"])
def test_unpicklable_item_ends_stream_and_generator(wire: Open, way: str) -> None:
    async def main() -> None:
        service = Streams()
        async with wire(service) as w:
            stream = await w.stream(way)
            assert await anext(stream) == 1
            with pytest.raises(UsageError, match=rf"S\.{way}: item \(a _thread.lock\)"):
                await anext(stream)
            await service.ended.wait()

    run(main)


class Unloadable:
    """Can be pickled, but not unpickled."""

    def __reduce__(self) -> Any:
        return _fail_to_load, ()


def _fail_to_load() -> None:
    raise RuntimeError("it cannot be loaded")


def test_item_that_caller_cannot_unpickle_ends_stream(wire: Open) -> None:
    class Service:
        def __init__(self) -> None:
            self.ended = trio.Event()

        async def items(self) -> AsyncIterator[Any]:
            try:
                yield 1
                yield Unloadable()
                while True:
                    yield 2
                    await trio.lowlevel.checkpoint()
            finally:
                self.ended.set()

    async def main() -> None:
        service = Service()
        async with wire(service) as w:
            stream = await w.connection.stream("S.items", (), {})
            assert await stream.receive() == [1]
            with pytest.raises(UsageError, match="it cannot be loaded"):
                await stream.receive()
            await service.ended.wait()

    run(main)


def test_call_of_generator_and_stream_of_plain_method_are_refused(wire: Open) -> None:
    async def main() -> None:
        service = Streams()
        async with wire(service) as w:
            for way in ("plain", "asynchronous"):
                with pytest.raises(UsageError, match=rf"S\.{way} is a generator.*stream\(\)"):
                    await w.call(way, 100_000_000)
            await service.ended.wait()
            for way in ("value", "async_value"):
                with pytest.raises(UsageError, match=rf"S\.{way} is not a generator.*call\(\)"):
                    await w.stream(way)
            with pytest.raises(UsageError, match="no method 'no'"):
                await w.stream("no")

    run(main)


def test_cancelling_stream_before_it_opens_cancels_method(wire: Open) -> None:
    class Slow:
        def __init__(self) -> None:
            self.began, self.ended = trio.Event(), trio.Event()

        async def items(self) -> AsyncIterator[int]:
            self.began.set()
            try:
                await trio.sleep_forever()
            finally:
                self.ended.set()
            return iter([1])  # type: ignore[return-value]

    async def main() -> None:
        service = Slow()
        async with wire(service) as w:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(w.stream, "items")
                await service.began.wait()
                nursery.cancel_scope.cancel()
            await service.ended.wait()

    run(main)


def test_cancelled_receive_loses_no_item(wire: Open) -> None:
    class Gated:
        def __init__(self) -> None:
            self.go = trio.Event()

        async def items(self) -> AsyncIterator[int]:
            await self.go.wait()
            yield 1
            yield 2

        async def open(self) -> None:
            self.go.set()

    async def main() -> None:
        async with wire(Gated()) as w:
            stream = await w.stream("items")
            with trio.CancelScope() as scope:
                scope.cancel()
                await anext(stream)
            await w.call("open")
            assert [i async for i in stream] == [1, 2]

    run(main)


variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


def test_generator_keeps_one_context_for_all_its_steps(wire: Open) -> None:
    class Contexts:
        def items(self, count: int) -> Iterator[int]:
            for i in range(count):
                assert variable.get() == i
                variable.set(i + 1)
                yield i
                threading.Event().wait(0)

        def current(self) -> int:
            return variable.get()

    async def main() -> None:
        async with wire(Contexts(), maxprocs=3) as w:
            assert [i async for i in await w.stream("items", 50)] == list(range(50))
            assert [await w.call("current") for _ in range(10)] == [0] * 10

    run(main)


# -- from caller to method -----------------------------------------------------


class Uploads:
    def __init__(self) -> None:
        self.taken = 0
        self.began = threading.Event()
        self.error: BaseException | None = None
        self.ended = trio.Event()
        self.token = trio.lowlevel.current_trio_token()

    def total(self, items: Iterator[int]) -> int:
        return sum(items)

    async def async_total(self, items: AsyncIterator[int]) -> int:
        return sum([item async for item in items])

    def both(self, first: Iterator[Any], *, second: Iterator[Any], factor: int) -> list[Any]:
        return [(a, b * factor) for a, b in zip(first, second, strict=True)]

    async def async_both(
        self, first: AsyncIterator[Any], *, second: AsyncIterator[Any], factor: int
    ) -> list[Any]:
        return [(a, await anext(second) * factor) async for a in first]

    def ignores(self, items: Any) -> str:
        return "not read"

    async def async_ignores(self, items: Any) -> str:
        return "not read"

    def first(self, items: Iterator[Any]) -> Any:
        return next(items)

    async def async_first(self, items: AsyncIterator[Any]) -> Any:
        return await anext(items)

    def consume(self, items: Iterator[Any]) -> int:
        try:
            self.began.set()
            for _ in items:
                self.taken += 1
        except BaseException as exc:
            self.error = exc
            raise
        finally:
            self.token.run_sync_soon(self.ended.set)
        return self.taken

    async def async_consume(self, items: AsyncIterator[Any]) -> int:
        try:
            self.began.set()
            async for _ in items:
                self.taken += 1
        except BaseException as exc:
            self.error = exc
            raise
        finally:
            self.ended.set()
        return self.taken

    def raises(self, items: Iterator[Any]) -> None:
        next(items)
        raise CustomError("full")

    async def async_raises(self, items: AsyncIterator[Any]) -> None:
        await anext(items)
        raise CustomError("full")

    def sizes(self, items: Iterator[Any]) -> list[int]:
        return [item.nbytes for item in items]

    async def async_sizes(self, items: AsyncIterator[Any]) -> list[int]:
        return [item.nbytes async for item in items]

    # -- files

    def read(self, file: Any, size: int) -> list[bytes]:
        return list(iter(lambda: file.read(size), b""))

    async def async_read(self, file: Any, size: int) -> list[bytes]:
        parts = []
        while part := await file.read(size):
            parts.append(part)
        return parts

    def read_all(self, file: Any) -> bytes:
        return bytes(file.read())

    async def async_read_all(self, file: Any) -> bytes:
        return bytes(await file.read())

    def lines(self, file: Any) -> list[bytes]:
        return list(file)

    async def async_lines(self, file: Any) -> list[bytes]:
        return [line async for line in file]

    def readlines(self, file: Any) -> list[bytes]:
        return list(iter(file.readline, b""))

    async def async_readlines(self, file: Any) -> list[bytes]:
        lines = []
        while line := await file.readline():
            lines.append(line)
        return lines

    def halves(self, first: Any, second: Any) -> list[bytes]:
        return [first.read(5), second.read()]

    async def async_halves(self, first: Any, second: Any) -> list[bytes]:
        return [await first.read(5), await second.read()]

    def mixed(self, file: Any) -> list[bytes]:
        return [file.readline(), file.read(3), file.readline(), file.read()]

    async def async_mixed(self, file: Any) -> list[bytes]:
        return [await file.readline(), await file.read(3), await file.readline(), await file.read()]


async def counted(count: int) -> AsyncIterator[int]:
    for i in range(count):
        yield i
        await trio.lowlevel.checkpoint()


@pytest.fixture(params=["", "async_"], ids=["def", "async def"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("count", [0, 1, 300])
def test_iterator_argument_is_streamed_to_method(wire: Open, prefix: str, count: int) -> None:
    async def main() -> None:
        async with wire(Uploads()) as w:
            total = sum(range(count))
            for items in (iter(range(count)), (i for i in range(count)), counted(count)):
                assert await w.call(prefix + "total", items) == total

    run(main)


def test_several_arguments_are_streamed_at_once(wire: Open, prefix: str) -> None:
    async def main() -> None:
        async with wire(Uploads()) as w:
            found = await w.call(prefix + "both", iter(range(100)), second=counted(100), factor=2)
            assert found == [(i, 2 * i) for i in range(100)]

    run(main)


def test_iterator_or_file_that_is_two_arguments_is_one_in_the_method(
    wire: Open, prefix: str
) -> None:
    async def main() -> None:
        async with wire(Uploads()) as w:
            for items in (iter(range(100)), counted(100)):
                found = await w.call(prefix + "both", items, second=items, factor=2)
                assert found == [(i, 2 * (i + 1)) for i in range(0, 100, 2)]
            file = io.BytesIO(b"0123456789")
            found = await w.call(prefix + "halves", file, file)
            assert found == [b"01234", b"56789"]

    run(main)


def test_large_items_and_large_arguments_are_streamed_to_method(wire: Open, prefix: str) -> None:
    async def main() -> None:
        sizes = [100, 300_000, WINDOW_BYTES + 1, 0, 2 * WINDOW_BYTES]
        async with wire(Uploads()) as w:
            found = await w.call(prefix + "sizes", (np.zeros(size, np.uint8) for size in sizes))
            assert found == sizes
            # The iterator's stand-in is in the body of a call too large for a frame.
            big = np.ones(1 << 20, np.uint8)
            found = await w.call(prefix + "both", iter([1]), second=iter([big]), factor=2)
            assert found[0][1].sum() == 2 << 20

    run(main)


def test_method_may_leave_streamed_argument_unread(wire: Open, prefix: str) -> None:
    async def main() -> None:
        async with wire(Uploads()) as w:
            for items in (counted(10_000_000), iter(lambda: bytes(ITEM), b"")):
                assert await w.call(prefix + "ignores", items) == "not read"
                await w.check_nothing_is_left()
            big = iter([np.zeros(40 << 20, np.uint8)])
            assert await w.call(prefix + "ignores", big) == "not read"
            assert await w.call(prefix + "first", counted(10_000_000)) == 0
            with pytest.raises(CustomError):
                await w.call(prefix + "raises", counted(10_000_000))

    run(main)


def test_iterator_of_caller_is_at_most_two_windows_ahead(wire: Open, prefix: str) -> None:
    class Gate(Uploads):
        def __init__(self) -> None:
            super().__init__()
            self.opened = threading.Event()
            self.async_opened = trio.Event()

        def wait_and_consume(self, items: Iterator[Any]) -> int:
            next(items)
            self.opened.wait(60)
            return sum(1 for _ in items)

        async def async_wait_and_consume(self, items: AsyncIterator[Any]) -> int:
            await anext(items)
            await self.async_opened.wait()
            return sum([1 async for _ in items])

        async def open(self) -> None:
            self.opened.set()
            self.async_opened.set()

        async def null(self) -> None:
            pass

    async def main() -> None:
        made = 0

        def items() -> Iterator[bytes]:
            nonlocal made
            for _ in range(6 * AHEAD):
                made += 1
                yield bytes(ITEM)

        results = []
        async with wire(Gate()) as w:

            async def call() -> None:
                results.append(await w.call(prefix + "wait_and_consume", items()))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                while made < AHEAD - 2:
                    await w.call("null")
                for _ in range(50):
                    await w.call("null")
                    await trio.to_thread.run_sync(lambda: None)
                # A thread takes all received items at once: that is one window, and another
                # may follow. An async handler takes items one by one.
                assert made <= 2 * AHEAD + 2
                await w.call("open")
        assert results == [6 * AHEAD - 1]
        assert made == 6 * AHEAD

    run(main)


def test_exception_of_iterator_argument_is_raised_at_caller(wire: Open, prefix: str) -> None:
    def broken(began: threading.Event) -> Iterator[int]:
        yield 1
        began.wait(60)
        raise CustomError("mine")

    async def async_broken(began: threading.Event) -> AsyncIterator[int]:
        yield 1
        await trio.to_thread.run_sync(began.wait, 20)
        raise CustomError("mine")

    async def main() -> None:
        for items in (broken, async_broken):
            service = Uploads()
            async with wire(service) as w:
                with pytest.raises(CustomError, match="mine") as error:
                    await w.call(prefix + "consume", items(service.began))
                assert error.value.__cause__ is None
                # The handler does not mistake it for the end of the items.
                await service.ended.wait()
                assert isinstance(service.error, (trio.Cancelled, UsageError))
                assert await w.call(prefix + "total", iter([1, 2])) == 3

    run(main)


def test_system_exit_of_iterator_argument_is_raised_without_group(wire: Open) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise SystemExit(3)

    async def main() -> None:
        async with wire(Uploads()) as w:
            with pytest.raises(SystemExit):
                await w.call("async_consume", broken())
            assert await w.call("total", iter([1, 2])) == 3

    run(main)


def test_unpicklable_item_of_argument_is_named_in_error(wire: Open, prefix: str) -> None:
    async def main() -> None:
        async with wire(Uploads()) as w:
            for items in (iter([1, threading.Lock()]), _async(1, threading.Lock())):
                with pytest.raises(UsageError) as caught:
                    await w.call(prefix + "consume", items)
                name = f"{prefix}consume: argument 0: item (a _thread.lock) can't be pickled"
                assert name in str(caught.value)
            with pytest.raises(UsageError, match="consume: items: item .a _thread.lock. can't"):
                await w.call(prefix + "consume", items=iter([threading.Lock()]))

    run(main)


async def _async(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


def test_item_that_machine_cannot_unpickle_is_usage_error(wire: Open, prefix: str) -> None:
    async def main() -> None:
        service = Uploads()
        async with wire(service) as w:
            with pytest.raises(UsageError, match="it cannot be loaded"):
                await w.call(prefix + "consume", iter([1, 2, Unloadable(), 3]))
            assert service.taken == 2

    run(main)


def test_cancelling_call_ends_its_upload_and_its_handler(wire: Open, prefix: str) -> None:
    async def main() -> None:
        service = Uploads()
        closed = trio.Event()
        halfway = trio.Event()

        async def items() -> AsyncIterator[int]:
            try:
                for i in range(20):
                    yield i
                await trio.to_thread.run_sync(service.began.wait, 20)
                halfway.set()
                await trio.sleep_forever()
            finally:
                closed.set()

        async with wire(service) as w:
            source = items()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(w.call, prefix + "consume", source)
                await halfway.wait()
                nursery.cancel_scope.cancel()
            await service.ended.wait()
            assert closed.is_set()
            assert isinstance(service.error, (trio.Cancelled, UsageError))

    run(main)


def test_lost_connection_ends_upload_with_one_error_at_each_end(wire: Open, prefix: str) -> None:
    async def main() -> None:
        service = Uploads()
        halfway = trio.Event()

        async def items() -> AsyncIterator[int]:
            yield 1
            await trio.to_thread.run_sync(service.began.wait, 20)
            halfway.set()
            await trio.sleep_forever()

        async with wire(service) as w, trio.open_nursery() as nursery:

            async def call() -> None:
                # Not in an exception group.
                with pytest.raises(ConnectionLost):
                    await w.call(prefix + "consume", items())

            nursery.start_soon(call)
            await halfway.wait()
            w.cut()
            await service.ended.wait()
            assert isinstance(service.error, (trio.Cancelled, UsageError))

    run(main)


def test_channel_argument_is_closed_after_call(wire: Open) -> None:
    async def main() -> None:
        send, receive = trio.open_memory_channel[int](0)
        async with wire(Uploads()) as w, trio.open_nursery() as nursery:

            async def produce() -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    while True:
                        await send.send(1)

            nursery.start_soon(produce)
            assert await w.call("async_first", receive) == 1
            assert receive.statistics().open_receive_channels == 0

    run(main)


def test_call_with_too_many_streams_is_refused(wire: Open) -> None:
    async def main() -> None:
        async with wire(Uploads()) as w:
            with pytest.raises(UsageError, match="at most 127"):
                await w.call("total", *(iter([]) for _ in range(128)))
            with pytest.raises(TypeError):
                await w.call("total", *(iter([]) for _ in range(127)))

    run(main)


def test_unknown_method_with_streamed_argument_is_refused(wire: Open) -> None:
    async def main() -> None:
        async with wire(Uploads()) as w:
            with pytest.raises(UsageError, match="no method 'totl'"):
                await w.call("totl", counted(1_000_000))

    run(main)


class Recording(Channel):
    """Sends at once, as to a kernel that accepts all; keeps what was sent."""

    has_unsent = False
    is_drained = True

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def send_nowait(self, *pieces: Any) -> None:
        self.writes.append(b"".join(pieces))

    async def receive_into(self, buffer: memoryview) -> int:
        return 0

    async def flush(self) -> None: ...
    def close(self) -> None: ...


def test_small_items_share_writes_and_acknowledgements() -> None:
    count = 1000

    async def main() -> None:
        sent, acks = Recording(), Recording()
        outbox = Outbox(sent)
        outgoing = OutgoingStream(outbox, 1)
        incoming = IncomingStream(Outbox(acks), 1, lambda frame: CustomError())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run)
            for i in range(count):
                await outgoing.send(dumps(i))
            await outbox.flushed()
            nursery.cancel_scope.cancel()
        assert len(sent.writes) < count / 4
        for write in sent.writes:
            for frame in decoded(FrameDecoder(), write):
                incoming.deliver(frame)
        assert [(await incoming.receive(1))[0] for _ in range(count)] == [*range(count)]
        assert len(acks.writes) < count / 100
        with trio.move_on_after(0):
            await incoming.receive()  # what it waits for may need the whole window
        given_back = sum(HEADER.unpack(ack)[-1] for ack in acks.writes)
        assert given_back == sum(item_cost(dumps(i).size) for i in range(count))

    run(main)


# -- in both directions --------------------------------------------------------


class BothWays(Uploads):
    def twice(self, items: Iterator[int]) -> Iterator[int]:
        self.began.set()
        try:
            for item in items:
                yield 2 * item
        except BaseException as exc:
            self.error = exc
            raise
        finally:
            self.token.run_sync_soon(self.ended.set)

    async def async_twice(self, items: AsyncIterator[int]) -> AsyncIterator[int]:
        self.began.set()
        try:
            async for item in items:
                yield 2 * item
        except BaseException as exc:
            self.error = exc
            raise
        finally:
            self.ended.set()

    def after_all(self, items: Iterator[int]) -> Iterator[int]:
        """Returns its stream only after it has read all items."""
        self.began.set()
        try:
            return iter(list(items))
        finally:
            self.token.run_sync_soon(self.ended.set)

    async def async_after_all(self, items: AsyncIterator[int]) -> Iterator[int]:
        self.began.set()
        try:
            return iter([item async for item in items])
        finally:
            self.ended.set()

    def lines_of(self, file: Any) -> Iterator[bytes]:
        yield from file

    async def async_lines_of(self, file: Any) -> AsyncIterator[bytes]:
        async for line in file:
            yield line


def test_call_may_stream_in_both_directions_at_once(wire: Open, prefix: str) -> None:
    async def main() -> None:
        async with wire(BothWays()) as w:
            for method, factor in (("twice", 2), ("after_all", 1)):
                for source in (iter(range(200)), counted(200)):
                    stream = await w.stream(prefix + method, source)
                    assert [i async for i in stream] == [factor * i for i in range(200)]
            text = TEXTS[4][:20_000]
            with on_disk(text) as file:
                stream = await w.stream(prefix + "lines_of", file)
                assert [line async for line in stream] == text.splitlines(keepends=True)

    run(main)


def test_results_arrive_while_items_are_still_being_sent(wire: Open, prefix: str) -> None:
    async def main() -> None:
        async with wire(BothWays()) as w:
            send, receive = trio.open_memory_channel[int](0)
            stream = await w.stream(prefix + "twice", receive)
            for i in range(20):
                await send.send(i)
                assert await anext(stream) == 2 * i
            await send.aclose()
            assert [i async for i in stream] == []

    run(main)


@pytest.mark.parametrize("method", ["twice", "after_all"])
def test_exception_of_source_ends_stream_with_that_exception(
    wire: Open, prefix: str, method: str
) -> None:
    async def main() -> None:
        service = BothWays()

        async def broken() -> AsyncIterator[int]:
            yield 1
            await trio.to_thread.run_sync(service.began.wait, 20)
            raise CustomError("mine")

        async def consume(w: Any) -> None:
            stream = await w.stream(prefix + method, broken())
            async for _ in stream:
                pass

        async with wire(service) as w:
            with pytest.raises(CustomError, match="mine"):
                await consume(w)
            await service.ended.wait()
            assert await w.call("total", iter([1, 2])) == 3

    run(main)


@pytest.mark.parametrize("reads", [0, 5])
def test_closing_stream_ends_its_source_and_its_handler(
    wire: Open, prefix: str, reads: int
) -> None:
    async def main() -> None:
        service = BothWays()
        closed = trio.Event()

        async def source() -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
                    await trio.lowlevel.checkpoint()
            finally:
                closed.set()

        async with wire(service) as w:
            stream = await w.stream(prefix + "twice", source())
            for _ in range(reads):
                await anext(stream)
            await trio.to_thread.run_sync(service.began.wait, 20)
            stream.close()
            await closed.wait()
            await service.ended.wait()

    run(main)


def test_cancelling_stream_before_it_opens_ends_its_source(wire: Open, prefix: str) -> None:
    async def main() -> None:
        service = BothWays()
        closed = trio.Event()

        async def source() -> AsyncIterator[int]:
            try:
                yield 1
                await trio.sleep_forever()
            finally:
                closed.set()

        async with wire(service) as w:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(w.stream, prefix + "after_all", source())
                await trio.to_thread.run_sync(service.began.wait, 20)
                nursery.cancel_scope.cancel()
            await closed.wait()
            await service.ended.wait()

    run(main)


def test_stream_that_fails_to_open_ends_its_source(wire: Open, prefix: str) -> None:
    async def main() -> None:
        async with wire(BothWays()) as w:
            with pytest.raises(UsageError, match="is not a generator"):
                await w.stream(prefix + "ignores", counted(10_000_000))
            with pytest.raises(UsageError, match="no method 'nothing'"):
                await w.stream("nothing", counted(10_000_000))
            with pytest.raises(CustomError, match="full"):
                await w.stream(prefix + "raises", counted(10_000_000))
            while w.connection._outgoing:
                await trio.lowlevel.checkpoint()

    run(main)


def test_lost_connection_ends_source_of_stream(wire: Open, prefix: str) -> None:
    async def main() -> None:
        service = BothWays()
        released, closed = trio.Event(), trio.Event()

        async def source() -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
                    await trio.lowlevel.checkpoint()
            finally:
                with trio.CancelScope(shield=True):
                    await released.wait()
                closed.set()

        async def consume(stream: Any) -> None:
            async for _ in stream:
                pass

        async with wire(service) as w:
            stream = await w.stream(prefix + "twice", source())
            await anext(stream)
            w.cut()
            with pytest.raises(ConnectionLost):
                await consume(stream)
            assert not closed.is_set()  # the error does not wait for the source to end
            released.set()
            await closed.wait()
            await service.ended.wait()

    run(main)


# -- files ---------------------------------------------------------------------

TEXTS = [
    b"",
    b"\n",
    b"one\ntwo\n\nthree",
    b"x" * 300_000 + b"\n" + b"y" * 300_000,
    b"".join(b"line %050d\n" % i for i in range(20_000)),
]

Make = Callable[[bytes], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def on_disk(text: bytes, mode: str = "rb") -> Iterator[Any]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        options = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
        with open(file.name, mode, **options) as opened:
            yield opened


FILES: dict[str, Make] = {
    "binary": on_disk,
    "memory": lambda text: contextlib.nullcontext(io.BytesIO(text)),
}


class Keeper:
    """Keeps an argument of one call; another one reads it."""

    def keep(self, stream: Any, read: int) -> Any:
        self.stream = stream
        return [next(stream) for _ in range(read)]

    async def async_keep(self, stream: Any, read: int) -> Any:
        self.stream = stream
        return [await anext(stream) for _ in range(read)]

    def list(self) -> Any:
        return list(self.stream)

    def read(self, how: str, *args: Any) -> Any:
        return getattr(self.stream, how)(*args)

    def text(self) -> Any:
        return io.TextIOWrapper(self.stream).read()

    async def async_list(self) -> Any:
        return [item async for item in self.stream]

    async def async_read(self, how: str) -> Any:
        return await getattr(self.stream, how)()

    async def next(self) -> Any:
        return next(self.stream)  # in the loop, where a stream can't be waited for


@pytest.mark.parametrize("read", [0, 1, 3])
@pytest.mark.parametrize("kind", ["iterator", "async iterator", "file"])
def test_stream_kept_after_its_call_raises_usage_error(prefix: str, kind: str, read: int) -> None:
    lines = [b"one\n", b"two\n", b"three\n"]
    reads: list[tuple[Any, ...]] = [("async_list",)] if prefix else [("list",), ("next",)]
    if kind == "file":
        names = ["read", "readline"]
        names += ["readlines", "read1", "peek"] * (not prefix)
        reads += [(prefix + "read", name) for name in names]
        reads += [("text",), ("read", "readinto", bytearray(9))] * (not prefix)

    async def main() -> None:
        async with memory(Keeper()) as w:
            stream: Any = iter(lines)
            if kind == "file":
                stream = io.BytesIO(b"".join(lines))
            elif kind == "async iterator":
                stream = async_iterator(lines)
            assert await w.call(prefix + "keep", stream, read) == lines[:read]
            for method, *args in reads:
                with pytest.raises(UsageError, match=r"keep has ended, .* by list\(rows\)"):
                    await w.call(method, *args)

    run(main)


async def async_iterator(items: list[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


@pytest.mark.parametrize("kind", FILES)
def test_file_argument_is_readable_file_in_method(wire: Open, prefix: str, kind: str) -> None:
    async def main() -> None:
        async with wire(Uploads()) as w:
            for text in TEXTS:
                lines = io.BytesIO(text).readlines()
                mixed = io.BytesIO(text)
                expected = {
                    ("read_all",): text,
                    ("lines",): lines,
                    ("readlines",): lines,
                    ("mixed",): [mixed.readline(), mixed.read(3), mixed.readline(), mixed.read()],
                    ("read", 100_000): [
                        text[at : at + 100_000] for at in range(0, len(text), 100_000)
                    ],
                }
                for (method, *args), found in expected.items():
                    with FILES[kind](text) as file:
                        assert await w.call(prefix + method, file, *args) == found

    run(main)


def test_async_file_argument_is_readable_file_in_method(prefix: str) -> None:
    async def main() -> None:
        async with memory(Uploads()) as w:
            for text in TEXTS[:3]:
                with on_disk(text) as file:
                    found = await w.call(prefix + "read_all", trio.wrap_file(file))
                    assert found == text

    run(main)


class Letters:
    """A file of text, which nothing but its content tells."""

    def read(self, size: int = -1) -> str:
        return "letters"

    def readline(self) -> str:
        return "letters"


def test_text_file_as_argument_is_usage_error_that_says_what_to_pass(prefix: str) -> None:
    async def main() -> None:
        async with memory(Uploads()) as w:
            with (
                on_disk(b"one\ntwo\n", "r") as text,
                tempfile.NamedTemporaryFile("w+") as temporary,
            ):
                texts = (
                    *(text, trio.wrap_file(text), temporary, io.StringIO("one")),
                    *(codecs.getreader("utf-8")(io.BytesIO(b"one")), Letters()),
                )
                for file in texts:
                    with pytest.raises(UsageError, match='open it with "rb", .* pass its buffer'):
                        await w.call(prefix + "read_all", file)
                # What the error says.
                text.seek(0)
                assert await w.call(prefix + "read_all", text.buffer) == b"one\ntwo\n"
                text.seek(0)
                lines = (line for line in text)
                assert await w.call(prefix + "lines", lines) == ["one\n", "two\n"]

    run(main)


def test_file_argument_is_sent_from_its_current_position(wire: Open, prefix: str) -> None:
    async def main() -> None:
        file = io.BytesIO(b"0123456789")
        file.seek(4)
        async with wire(Uploads()) as w:
            assert await w.call(prefix + "read_all", file) == b"456789"

    run(main)


def test_read_error_of_file_argument_is_raised_at_caller(wire: Open, prefix: str) -> None:
    class Disk(io.RawIOBase):
        reads = 0

        def read(self, size: int = -1) -> bytes:
            self.reads += 1
            if self.reads == 3:
                raise OSError("disk failure")
            return b"x" * 1000

    async def main() -> None:
        async with wire(Uploads()) as w:
            with pytest.raises(OSError, match="disk failure") as error:
                await w.call(prefix + "read_all", Disk())
            assert not isinstance(error.value, BigmachineError)

    run(main)
