"""Members of the session that break the protocol, or do not care: either end against the other."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import socket
import struct
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bigmachine.errors import BigmachineError, UsageError
from bigmachine.rpc import ConnectionLost, FrameConnection
from bigmachine.rpc._frames import (
    KINDS,
    LAST_STREAM,
    MAX_BODIES,
    MAX_NAME_BYTES,
    MAX_UPLOADS,
    Frame,
    Kind,
    Payload,
    control_frame,
    data_header,
    message_frame,
)
from bigmachine.rpc._payload import dumps
from bigmachine.rpc._streams import WINDOW_BYTES
from bigmachine.rpc.loop._tasks import TaskPool
from bigmachine.rpc.server import _connection as connection_module
from bigmachine.rpc.server._connection import ServingConnection
from bigmachine.rpc.server.pools._pools import Pools
from bigmachine.rpc.transport._channel import StreamChannel
from bigmachine.rpc.transport._decoder import FrameDecoder
from bigmachine.rpc.transport._outbox import MAX_SMALL_BYTES, MAX_UNSENT_BYTES
from tests.support.waiting import eventually, until
from tests.unit.rpc.wires import Wire, decoded, memory, run, services, thread_pool


class Service:
    def __init__(self) -> None:
        self.made = 0

    def echo(self, value: Any) -> Any:
        return value

    def made_bytes(self, size: int) -> bytes:
        self.made += 1
        return bytes(size)

    async def async_made_bytes(self, size: int) -> bytes:
        return self.made_bytes(size)

    def items(self, size: int) -> Iterator[bytes]:
        while True:
            self.made += 1
            yield bytes(size)

    async def async_items(self, size: int) -> AsyncIterator[bytes]:
        while True:
            self.made += 1
            yield bytes(size)

    async def take(self, items: AsyncIterator[Any]) -> None:
        await trio.sleep_forever()

    async def wait(self) -> None:
        await trio.sleep_forever()


def call(method: str, *args: Any, stream: int = 1, uploads: int = 0) -> bytes:
    frame, body = message_frame(Kind.CALL, stream, dumps((args, {})), method.encode(), uploads)
    assert not body
    return frame


def item(stream: int, size: int) -> bytes:
    return message_frame(Kind.ITEM, stream, Payload((bytes(size),), (), size, size))[0]


def announce(kind: int, stream: int, *sizes: int, name: bytes = b"") -> bytes:
    """A message whose body never comes."""
    content = struct.pack(f"<{len(sizes)}Q", *sizes) + name
    return struct.pack("<IIBBHI", len(content), stream, kind, 0, len(sizes), len(name)) + content


class RawClient:
    """A client that sends what it likes, over a socket, and reads what it likes."""

    def __init__(self, stream: trio.SocketStream, serving: ServingConnection) -> None:
        self.stream = stream
        self.serving = serving
        self.has_ended = trio.Event()
        self._decoder = FrameDecoder()

    async def send_until_refused(self, parts: Iterator[bytes]) -> int:
        """Send until the machine reads no more; return how many bytes it took."""
        sent = 0
        for part in parts:
            with trio.move_on_after(1) as scope:
                await self.stream.send_all(part)
            if scope.cancelled_caught:
                break
            sent += len(part)
        return sent

    async def receive(self) -> list[Frame]:
        return [*decoded(self._decoder, await self.stream.receive_some())]


@contextlib.asynccontextmanager
async def raw_client(
    service: object, *, maxprocs: int = 2, **options: Any
) -> AsyncIterator[RawClient]:
    ours, theirs = socket.socketpair()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    async with thread_pool(maxprocs) as threads, trio.open_nursery() as nursery:
        machine = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        serving = ServingConnection(
            StreamChannel(machine),
            services=services(service),
            pools=Pools(TaskPool(nursery), threads),
            **options,
        )
        client = RawClient(stream, serving)

        async def serve() -> None:
            async with machine:  # as the server does
                await serving.run()
            client.has_ended.set()

        nursery.start_soon(serve)
        async with stream:
            yield client
        nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def raw_machine() -> AsyncIterator[tuple[Wire, trio.testing.MemorySendStream, Any]]:
    """A caller whose machine sends what it likes."""
    ours, theirs = trio.testing.memory_stream_pair()
    connection = FrameConnection(StreamChannel(ours), addr="https://m:1#m0", machine="m0")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        yield Wire(connection), theirs, nursery
        nursery.cancel_scope.cancel()


# -- a client breaks the protocol ----------------------------------------------

ONE_MORE = WINDOW_BYTES // (1 << 16) + 1
BY_CLIENT = {
    "uploads beyond the last stream": [call("S.take", None, stream=LAST_STREAM, uploads=1)],
    "uploads far beyond the last stream": [
        call("S.take", None, stream=LAST_STREAM - 3, uploads=MAX_UPLOADS)
    ],
    "credit for nothing": [
        call("S.async_items", 1 << 20),
        call("S.echo", 5, stream=2),
        *[control_frame(Kind.ACK, 1, 0xFFFF_FFFF)] * 2,
    ],
    "items beyond the window": [
        call("S.take", None, uploads=1),
        item(2, 1 << 16) * ONE_MORE,
    ],
    "too many empty items": [call("S.take", None, uploads=1), item(2, 0) * 16_385],
    "a large item beyond the window": [
        call("S.take", None, uploads=1),
        (announce(Kind.ITEM, 2, 5 << 20) + (data_header(2, 1 << 18) + bytes(1 << 18)) * 20) * 2,
    ],
    "too many bodies at once": [
        b"".join(announce(Kind.CALL, n, 1, name=b"S.echo") for n in range(1, MAX_BODIES + 2))
    ],
    "bodies that are too large together": [
        announce(Kind.CALL, n, 9 << 30, name=b"S.echo") for n in (1, 2)
    ],
    "a name that is too long": [call("S." + "x" * MAX_NAME_BYTES)],
    "a reply": [control_frame(Kind.STREAM, 1)],
    "a call on the stream of another": [call("S.wait"), call("S.wait")],
    "a call on the stream of an upload": [
        call("S.take", None, uploads=1),
        call("S.wait", stream=2),
    ],
}


@pytest.mark.parametrize("case", BY_CLIENT)
def test_client_that_breaks_protocol_loses_only_its_connection(case: str) -> None:
    async def main() -> None:
        service = Service()
        async with raw_client(service) as client, raw_client(service) as other:
            with contextlib.suppress(trio.BrokenResourceError):
                for part in BY_CLIENT[case]:
                    await client.stream.send_all(part)
                    await trio.testing.wait_all_tasks_blocked()
            await client.has_ended.wait()
            await other.stream.send_all(call("S.echo", 5))
            [reply] = await other.receive()
            assert pickle.loads(reply.pickle) == 5

    run(main)


def test_honest_client_reaches_limits_and_is_served() -> None:
    async def main() -> None:
        async with memory(Service()) as wire:
            # More bodies than may be under way: those after them wait.
            async with trio.open_nursery() as nursery:
                data = bytes(100_000)

                async def echo() -> None:
                    assert await wire.call("echo", data) == data

                for _ in range(3 * MAX_BODIES):
                    nursery.start_soon(echo)
            with pytest.raises(UsageError, match="with at most 1024 bytes"):
                await wire.call("x" * MAX_NAME_BYTES)

    run(main)


def test_announced_buffers_take_no_memory_until_they_come() -> None:
    async def main() -> None:
        async with raw_client(Service()) as client:
            tracemalloc.start()
            for n in range(1, MAX_BODIES + 1):  # a TiB in all, were it allocated
                sizes = [1 << 20] * 50
                await client.stream.send_all(announce(Kind.CALL, n, *sizes, name=b"S.echo"))
            # And a byte of each: so only the buffers that have begun take memory.
            await client.stream.send_all(call("S.echo", "done", stream=MAX_BODIES + 1))
            [reply] = await client.receive()
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert pickle.loads(reply.pickle) == "done"
            assert peak < 2 << 20

    run(main)


def test_calls_beyond_limit_are_refused_and_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_CALLS", 100)

    async def main() -> None:
        async with memory(Service()) as wire, trio.open_nursery() as nursery:
            for _ in range(99):
                nursery.start_soon(wire.call, "wait")
            await trio.testing.wait_all_tasks_blocked()
            assert await wire.call("echo", 5) == 5
            nursery.start_soon(wire.call, "wait")
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(UsageError, match="100 calls run over this connection"):
                await wire.call("echo", 5)
            nursery.cancel_scope.cancel()

    run(main)


# -- a client does not read ----------------------------------------------------


def numbered_calls(method: str, *args: Any) -> Iterator[bytes]:
    return (call(method, *args, stream=n) for n in itertools.count(1))


def test_machine_reads_no_more_calls_while_replies_are_not_read() -> None:
    async def main() -> None:
        service = Service()
        async with raw_client(service) as client:
            await client.send_until_refused(numbered_calls("S.made_bytes", 10_000))
            # What the kernel holds comes on top.
            assert service.made * 10_000 < 2 * MAX_SMALL_BYTES + (8 << 20)
            # Once it reads, all that was accepted is answered.
            await trio.testing.wait_all_tasks_blocked()
            answered = 0
            while answered < service.made:
                answered += len(await client.receive())

    run(main)


@pytest.mark.long
@pytest.mark.parametrize("method", ["made_bytes", "async_made_bytes"])
def test_large_results_that_are_not_read_are_not_computed(method: str) -> None:
    async def main() -> None:
        service = Service()
        async with raw_client(service) as client:
            calls = itertools.islice(numbered_calls(f"S.{method}", 1 << 20), 2000)
            await client.stream.send_all(b"".join(calls))  # all are accepted, at once
            await trio.testing.wait_all_tasks_blocked(0.05)
            # Threads are ahead of the loop, which counts: by some calls, not by all.
            made = service.made
            assert MAX_UNSENT_BYTES >> 20 <= made < 1000
            while service.made < made + 100:  # they go on as soon as somebody reads
                await client.stream.receive_some()

    run(main)


@pytest.mark.parametrize("method", ["items", "async_items"])
@pytest.mark.parametrize("size", [10_000, 1 << 20])
def test_streams_that_are_not_read_are_not_produced(method: str, size: int) -> None:
    async def main() -> None:
        service = Service()
        async with raw_client(service) as client:
            parts = itertools.islice(numbered_calls(f"S.{method}", size), 200)
            await client.send_until_refused(parts)
            await trio.testing.wait_all_tasks_blocked(0.05)
            made = service.made  # the windows of 200 streams would be 800 MiB
            limit = 2 * MAX_SMALL_BYTES if size < 16_384 else MAX_UNSENT_BYTES
            # The kernel holds some, and threads are a little ahead of the loop, which counts.
            assert made * size < limit + 100 * size + (16 << 20)
            while service.made < made + 20:  # they go on as soon as somebody reads
                await client.stream.receive_some()

    run(main)


def test_threads_make_few_items_before_the_loop_counts_them() -> None:
    class Gated(Service):
        def __init__(self) -> None:
            super().__init__()
            self.begun: list[int] = []
            self.may_begin = threading.Event()

        def items(self, size: int) -> Iterator[bytes]:
            self.begun.append(size)
            self.may_begin.wait(60)
            yield from super().items(size)

    async def main() -> None:
        service = Gated()
        async with raw_client(service, maxprocs=10) as client:
            calls = itertools.islice(numbered_calls("S.items", 10_000), 10)
            await client.stream.send_all(b"".join(calls))
            await eventually(lambda: len(service.begun) == 10)
            service.may_begin.set()
            threads = client.serving._pools.threads
            until(lambda: not threads.is_busy)  # in the loop, which is busy, therefore
            assert service.made < 2000  # the windows would be 4000

    run(main)


# -- a machine breaks the protocol ---------------------------------------------

BY_MACHINE = {
    "a call": [call("S.echo", 1, stream=9)],
    "an item instead of a reply": [item(1, 5)],
    "an end instead of a reply": [control_frame(Kind.END, 1)],
    "a cancellation instead of a reply": [control_frame(Kind.CANCEL, 1)],
    "two beginnings": [control_frame(Kind.STREAM, 1)] * 2,
    "a reply in a stream": [
        control_frame(Kind.STREAM, 1),
        message_frame(Kind.REPLY, 1, dumps(5))[0],
    ],
    "items beyond the window": [
        control_frame(Kind.STREAM, 1),
        *[item(1, 1 << 16)] * ONE_MORE,
    ],
    "credit for nothing": [control_frame(Kind.ACK, 2, 1 << 31)],
}


@pytest.mark.parametrize("case", BY_MACHINE)
def test_machine_that_breaks_protocol_is_connection_lost(case: str) -> None:
    async def main() -> None:
        async with raw_machine() as (wire, machine, _):
            caught: list[BaseException] = []

            async def caller() -> None:
                try:
                    stream = await wire.stream("take", itertools.repeat(bytes(1 << 20)))
                    await trio.testing.wait_all_tasks_blocked()
                    async for _ in stream:
                        pass
                except Exception as exc:
                    caught.append(exc)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(caller)
                await machine.receive_some()
                while sum(o._ahead for o in wire.connection._outgoing.values()) < WINDOW_BYTES:
                    await trio.sleep(0.001)
                for part in BY_MACHINE[case]:
                    await machine.send_all(part)
            [error] = caught
            assert isinstance(error, BigmachineError)
            assert not wire.connection.is_open
            with pytest.raises(ConnectionLost):
                await wire.call("echo", 1)

    run(main)


# -- anything at all -----------------------------------------------------------


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Frames of a few streams, most of them valid ones, in any order."""
    stream = draw(st.sampled_from([0, 1, 2, 3, 4, LAST_STREAM]))
    kind = draw(st.sampled_from(sorted(KINDS)))
    way = draw(st.integers(0, 9))
    if way < 3:
        method = draw(st.sampled_from(["S.echo", "S.items", "S.async_items", "S.take", "S.wait"]))
        uploads = draw(st.integers(0, 3))
        return call(method, draw(st.integers(0, 99)), stream=stream, uploads=uploads)
    if way < 5:
        return control_frame(kind, stream, draw(st.sampled_from([0, 1, 300, 0xFFFF_FFFF])))
    if way < 6:
        return item(stream, draw(st.integers(0, 99)))
    if way < 7:
        return announce(kind, stream, *draw(st.lists(st.integers(0, 9), min_size=1, max_size=3)))
    if way < 8:
        size = draw(st.integers(0, 9))
        return data_header(stream, size) + bytes(size)
    if way < 9:
        value = draw(st.sampled_from([None, (1, 2, 3, 4, 5), ("a", "b", "c", b"d", 1)]))
        return message_frame(kind if kind != Kind.DATA else Kind.ERROR, stream, dumps(value))[0]
    return draw(st.binary(min_size=1, max_size=40))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parts=st.lists(frames(), min_size=1, max_size=12))
def test_no_frames_of_client_end_more_than_its_connection(parts: list[bytes]) -> None:
    async def main() -> None:
        service = Service()
        async with raw_client(service) as client:
            with contextlib.suppress(trio.BrokenResourceError):
                await client.stream.send_all(b"".join(parts))
                await client.stream.send_eof()
            await client.has_ended.wait()

    run(main)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parts=st.lists(frames(), min_size=1, max_size=12))
@example(parts=[message_frame(Kind.ERROR, 1, dumps((1, 2, 3, 4, 5)))[0]])
@example(parts=[message_frame(Kind.ERROR, 1, dumps(("a", "b", "c", [None, 7], False)))[0]])
def test_no_frames_of_machine_end_more_than_its_connection(parts: list[bytes]) -> None:
    async def main() -> None:
        async with raw_machine() as (wire, machine, nursery):

            async def caller(function: Callable[..., Awaitable[Any]], *args: Any) -> None:
                with contextlib.suppress(BigmachineError):
                    found = await function(*args)
                    if hasattr(found, "__aiter__"):
                        async for _ in found:
                            pass

            nursery.start_soon(caller, wire.call, "echo", 1)
            nursery.start_soon(caller, wire.stream, "items", 1)
            nursery.start_soon(caller, wire.stream, "take", iter([1, 2, 3]))
            nursery.start_soon(caller, wire.call, "take", iter([1, 2, 3]))
            await machine.receive_some()
            await machine.send_all(b"".join(parts))
            await machine.send_eof()
            while wire.connection.is_open:
                await trio.lowlevel.checkpoint()

    run(main)
