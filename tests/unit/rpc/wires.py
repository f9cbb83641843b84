"""Both ends of the wire in one trio loop: in memory, in lockstep, and over real TLS sockets."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio
import trio.testing

from bigmachine._identity import Authority, Identity
from bigmachine.rpc import Connection, FrameConnection, Server, Services, dial, http_client
from bigmachine.rpc._frames import DEFAULT_LIMIT_BYTES, Frame
from bigmachine.rpc.loop._tasks import TaskPool
from bigmachine.rpc.memory._switch import VARIABLE
from bigmachine.rpc.server._connection import ServingConnection
from bigmachine.rpc.server.pools._pools import Pools
from bigmachine.rpc.server.pools._threads import ThreadPool
from bigmachine.rpc.transport._channel import StreamChannel
from bigmachine.rpc.transport._decoder import FrameDecoder

AUTHORITY = Authority("test.bigmachine")
MACHINE = AUTHORITY.issue("m0")
DRIVER = AUTHORITY.issue("driver")


def decoded(decoder: FrameDecoder, data: bytes, *, piece: int = 1 << 30) -> Iterator[Frame]:
    """Receive ``data``, at most ``piece`` bytes at a time; give each frame as it is complete."""
    rest = memoryview(data)
    while rest:
        room = decoder.buffer()
        assert len(room) > 0
        count = min(len(room), len(rest), piece)
        room[:count] = rest[:count]
        rest = rest[count:]
        yield from decoder.frames(count)


async def call_over(
    connection: Connection, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Call over the connection itself, and never over a lane, as a driver's own calls are made."""
    return await connection.call_supervisor(method, args, kwargs)


class Wire:
    """A connection to a service named ``S``, with both its ends."""

    def __init__(self, connection: FrameConnection) -> None:
        self.connection = connection
        self.serving: ServingConnection | None = None

    def cut(self) -> None:
        """End the connection at the machine's end."""
        assert self.serving is not None
        self.serving._channel.close()

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await call_over(self.connection, f"S.{method}", args, kwargs)

    async def stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await self.connection.stream(f"S.{method}", args, kwargs)

    async def check_nothing_is_left(self) -> None:
        """Fail if a call, a stream or part of a message is left at either end."""
        if not self.connection.is_open:
            return
        # After a round trip, both ends have handled all that was sent before it.
        with contextlib.suppress(ValueError):
            await call_over(self.connection, "Unknown.method", (), {})
        ours = self.connection
        assert not ours._calls
        assert not ours._incoming
        assert not ours._outgoing
        assert ours._decoder.is_idle
        assert not ours._outbox._under_way
        assert not ours._outbox._in_line
        if (theirs := self.serving) is not None:
            assert not theirs._calls
            assert not theirs._uploads
            assert not theirs._outbox._under_way
            assert not theirs._outbox._in_line
            assert theirs._decoder.is_idle


Open = Callable[..., AbstractAsyncContextManager[Wire]]


def services(service: object) -> Services:
    if isinstance(service, Services):
        return service
    found = Services()
    found.add("S", service)
    return found


@contextlib.asynccontextmanager
async def thread_pool(limit: int) -> AsyncIterator[ThreadPool]:
    pool = ThreadPool(limit)
    try:
        yield pool
    finally:
        pool.close()


@contextlib.asynccontextmanager
async def over_streams(
    ours: trio.abc.Stream,
    theirs: trio.abc.Stream,
    service: object,
    *,
    maxprocs: int = 2,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
) -> AsyncIterator[Wire]:
    async with trio.open_nursery() as nursery, thread_pool(maxprocs) as threads:
        serving = ServingConnection(
            StreamChannel(theirs),
            services=services(service),
            pools=Pools(TaskPool(nursery), threads),
            limit_bytes=limit_bytes,
        )
        connection = FrameConnection(
            StreamChannel(ours), addr="https://memory:1#m0", machine="m0", limit_bytes=limit_bytes
        )

        async def run_and_close(end: FrameConnection | ServingConnection, stream: Any) -> None:
            async with stream:  # as the server and `dial` do
                await end.run()

        nursery.start_soon(run_and_close, serving, theirs)
        nursery.start_soon(run_and_close, connection, ours)
        wire = Wire(connection)
        wire.serving = serving
        yield wire
        await wire.check_nothing_is_left()
        nursery.cancel_scope.cancel()


def memory(service: object, **options: int) -> AbstractAsyncContextManager[Wire]:
    return over_streams(*trio.testing.memory_stream_pair(), service, **options)


def lockstep(service: object, **options: int) -> AbstractAsyncContextManager[Wire]:
    """No byte is sent before the other end asks for it."""
    return over_streams(*trio.testing.lockstep_stream_pair(), service, **options)


@contextlib.asynccontextmanager
async def serving(
    service: object,
    *,
    identity: Identity = MACHINE,
    maxprocs: int = 2,
    **options: Any,
) -> AsyncIterator[tuple[Server, str]]:
    """A server on loopback, and its ``HOST:PORT``."""
    server = Server(services(service), identity=identity, maxprocs=maxprocs, **options)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await nursery.start(server.serve, listeners)
        yield server, f"127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


@contextlib.contextmanager
def memory_switch(value: str) -> Iterator[None]:
    """Have both ends of the connections that are made meanwhile share memory (``"1"``) or not."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = value
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


@contextlib.asynccontextmanager
async def tls(
    service: object,
    *,
    maxprocs: int = 2,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
    shares_memory: bool = False,
) -> AsyncIterator[Wire]:
    with memory_switch("1" if shares_memory else "0"):
        async with _tls(service, maxprocs=maxprocs, limit_bytes=limit_bytes) as wire:
            yield wire


@contextlib.asynccontextmanager
async def _tls(service: object, *, maxprocs: int, limit_bytes: int) -> AsyncIterator[Wire]:
    async with (
        serving(service, maxprocs=maxprocs, limit_bytes=limit_bytes) as (server, address),
        http_client(DRIVER) as http,
        dial(http, f"https://{address}#{MACHINE.name}") as connection,
        trio.open_nursery() as nursery,
    ):
        assert isinstance(connection, FrameConnection)
        nursery.start_soon(connection.run)
        wire = Wire(connection)
        with contextlib.suppress(ValueError):
            await call_over(connection, "Unknown.method", (), {})
        [wire.serving] = server._connections
        yield wire
        await wire.check_nothing_is_left()
        nursery.cancel_scope.cancel()


WIRES: dict[str, Open] = {
    "memory": memory,
    "lockstep": lockstep,
    "tls": tls,
    "shared": functools.partial(tls, shares_memory=True),
}


def run(test: Callable[[], Awaitable[None]], **options: Any) -> None:
    """Run a test in trio; one that hangs fails and says where."""

    async def main() -> None:
        if "clock" in options:
            await test()
            return
        with trio.fail_after(60):
            await test()

    trio.run(main, **options)
    assert not threads_of_pools(), "a thread outlived its pool"


def threads_of_pools() -> list[str]:
    """The names of pool threads that still run after a wait of up to a minute for each.

    Tests before, in the same process, may have left some whose methods end by themselves.
    """
    left = [t for t in threading.enumerate() if t.name.startswith("bigmachine-")]
    for thread in left:
        thread.join(60)
    return [thread.name for thread in left if thread.is_alive()]


def unwrapped(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    """All exceptions in a group and in its nested groups."""
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from unwrapped(exc)
        else:
            yield exc
