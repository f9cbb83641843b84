"""A rehearsal of a machine's work, for the process that forks machines.

Code writes to memory when it first runs: the interpreter adapts it to the types that it meets, and
notes where classes have their attributes. If that is done before the fork, machines share this
memory; otherwise each copies it, page by page.
"""

from __future__ import annotations

import socket

import trio

from ..rpc import FrameConnection, Server, Services
from ..rpc._channel import Channel, StreamChannel
from ..rpc._protocol import PROTOCOL

_ROUNDS = 2  # a third one saves nothing
_SECONDS = 1.0  # for each; it takes milliseconds
_UPGRADE = (
    "GET /rpc HTTP/1.1\r\nHost: rehearsal\r\nAccept: */*\r\n"
    f"Connection: upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n"
).encode()
_HEAD_BYTES = 4096


def rehearse() -> int:
    """Be a machine and its driver for a moment; return how many calls were answered.

    This leaves no thread, no descriptor and no handler of a signal behind. It has no TLS, which
    needs a key, and keys belong to one machine only.
    """
    return sum(trio.run(_serve_a_call) for _ in range(_ROUNDS))


async def _serve_a_call() -> int:
    answered = 0
    driver, machine = map(_stream, socket.socketpair())
    services = Services()
    services.add("Rehearsal", _Service())
    server = Server(services, identity=None, maxprocs=1)
    with trio.move_on_after(_SECONDS):
        async with driver, trio.open_nursery() as nursery:
            await nursery.start(server.serve, [_OneConnection(machine)])
            channel = StreamChannel(driver)
            await _upgrade(channel)
            connection = FrameConnection(channel, addr="", machine="")
            nursery.start_soon(connection.run)
            answered = await connection.call("Rehearsal.answer", (1,), {})
            nursery.cancel_scope.cancel()
    return answered


async def _upgrade(channel: Channel) -> None:
    """Have the server speak frames."""
    await channel.send_all(_UPGRADE)
    head = b""
    while b"\r\n\r\n" not in head:
        received = await channel.receive_some(_HEAD_BYTES)
        if not received:
            raise ConnectionResetError
        head += received


class _Service:
    async def answer(self, value: int) -> int:
        return value


class _OneConnection(trio.abc.Listener[trio.SocketStream]):
    """Accepts one connection, which is there already: nobody else can connect."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._streams = [stream]

    async def accept(self) -> trio.SocketStream:
        if not self._streams:
            await trio.sleep_forever()
        return self._streams.pop()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def _stream(sock: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
