"""A rehearsal of a machine's work, for the process that forks machines.

Code writes to memory when it first runs: the interpreter adapts it to the types that it meets, and
notes where classes have their attributes; OpenSSL looks up its algorithms. If that is done before
the fork, machines share this memory; otherwise each copies it, page by page.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any

import trio

from .._identity import Identity
from ..rpc import FrameConnection, Server, Services, loaded_once, pickle_call
from ..rpc._protocol import PROTOCOL
from ..rpc.transport._channel import Channel
from ..rpc.transport._tls import TlsChannel

_ROUNDS = 2  # a third one saves nothing
_SECONDS = 1.0  # for each; it takes milliseconds
_UPGRADE = (
    "GET /rpc HTTP/1.1\r\nHost: rehearsal\r\nAccept: */*\r\n"
    f"Connection: upgrade\r\nUpgrade: {PROTOCOL}\r\n\r\n"
).encode()
_HEAD_BYTES = 4096


def rehearse() -> int:
    """Be a machine and its driver for a moment; return how many calls were answered.

    This leaves no thread, no descriptor and no handler of a signal behind. Its TLS is anonymous:
    keys belong to one machine only.
    """
    return sum(trio.run(_serve_a_call) for _ in range(_ROUNDS))


async def _serve_a_call() -> int:
    answered = 0
    services = Services()
    services.add("Rehearsal", _Service())
    identity = _Nobody("", "", b"", b"", b"")
    server = Server(services, identity=identity, maxprocs=1)
    driver, machine = socket.socketpair()
    channel = TlsChannel(driver, identity.client_context())
    with trio.move_on_after(_SECONDS), contextlib.closing(channel):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, [_OneConnection(_stream(machine))])
            await channel.handshake()
            await _upgrade(channel)
            connection = FrameConnection(channel, addr="", machine="")
            nursery.start_soon(connection.run)
            outcome = await connection.outcome(pickle_call("Rehearsal.answer", (1,), {}))
            answered = loaded_once(outcome.unwrap())
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


class _Nobody(Identity):
    """An identity that has no key and no name, and asks nobody for theirs."""

    def server_context(self) -> ssl.SSLContext:
        return _anonymous(ssl.PROTOCOL_TLS_SERVER)

    def client_context(self) -> ssl.SSLContext:
        return _anonymous(ssl.PROTOCOL_TLS_CLIENT)

    def check_peer(self, certificate: dict[str, Any] | None) -> str:
        return "driver"


def _anonymous(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Later versions can't do without certificates, nor can higher levels of OpenSSL's.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context


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
