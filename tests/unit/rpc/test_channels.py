"""Channels without RPC: TLS in pieces of any size, every kind of end, any stream."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from bigmachine.rpc.transport._channel import Channel, StreamChannel
from bigmachine.rpc.transport._tls import TlsChannel
from tests.unit.rpc.wires import DRIVER, MACHINE, run


@contextlib.asynccontextmanager
async def tls_pair() -> AsyncIterator[tuple[TlsChannel, TlsChannel]]:
    """Two ends of one TLS connection over a socket pair on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialled = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    ours = TlsChannel(dialled, DRIVER.client_context(), server_hostname=MACHINE.name)
    theirs = TlsChannel(accepted, MACHINE.server_context(), server_side=True)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.handshake)
            nursery.start_soon(theirs.handshake)
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


async def receive_exactly(channel: Channel, size: int, *, max_bytes: int = 1 << 20) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = await channel.receive_some(min(max_bytes, size - len(parts)))
        assert part, f"ended after {len(parts)} of {size} bytes"
        parts += part
    return bytes(parts)


@pytest.mark.parametrize("piece", [1, 7, 1000, 16_384, 16_385, 300_000])
def test_bytes_arrive_in_order_for_any_piece_size(piece: int) -> None:
    async def main() -> None:
        total = min(piece * 500, 3_000_000)
        data = os.urandom(total)
        async with tls_pair() as (ours, theirs), trio.open_nursery() as nursery:

            async def send(channel: Channel) -> None:
                for at in range(0, total, piece):
                    await channel.send_all(data[at : at + piece])

            async def receive(channel: Channel, max_bytes: int) -> None:
                assert await receive_exactly(channel, total, max_bytes=max_bytes) == data

            nursery.start_soon(send, ours)
            nursery.start_soon(send, theirs)
            nursery.start_soon(receive, theirs, 1 << 20)
            nursery.start_soon(receive, ours, 4097)

    run(main)


def test_tls_records_may_arrive_byte_by_byte() -> None:
    async def main() -> None:
        raw, dialled = socket.socketpair()
        raw.setblocking(False)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = MACHINE.server_context().wrap_bio(incoming, outgoing, server_side=True)
        channel = TlsChannel(as_tcp(dialled), DRIVER.client_context(), server_hostname=MACHINE.name)
        wire = trio.socket.from_stdlib_socket(raw)

        async def trickle() -> None:
            for byte in outgoing.read():
                await wire.send(bytes([byte]))
                await trio.lowlevel.checkpoint()

        async def peer() -> None:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await trickle()
                    incoming.write(await wire.recv(65536))
            await trickle()
            for word in (b"hello ", b"world"):
                tls.write(word)
                await trickle()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer)
            await channel.handshake()
            assert await receive_exactly(channel, 11) == b"hello world"
        channel.close()
        wire.close()

    run(main)


def as_tcp(sock: socket.socket) -> Any:
    """A Unix socket as a TCP one: it ignores TCP's options."""

    class IgnoresOptions(socket.socket):
        def setsockopt(self, *args: Any) -> None:
            pass

    return IgnoresOptions(fileno=sock.detach())


def test_closed_channel_delivers_all_bytes_and_then_end() -> None:
    async def main() -> None:
        async with tls_pair() as (ours, theirs):
            await ours.send_all(b"last bytes")
            ours.close()
            assert await receive_exactly(theirs, 10) == b"last bytes"
            for _ in range(3):
                assert await theirs.receive_some(100) == b""
            assert theirs.failure is None

    run(main)


def test_tls_close_notify_is_end_although_tcp_stays_open() -> None:
    async def main() -> None:
        async with tls_pair() as (ours, theirs):
            await ours.send_all(b"last bytes")
            with contextlib.suppress(ssl.SSLError):
                ours.ssl_object.unwrap()
            ours._push()
            await ours.flush()
            await trio.lowlevel.wait_readable(theirs.socket)
            assert await receive_exactly(theirs, 10) == b"last bytes"
            # Only TLS has ended: TCP stays open.
            assert await theirs.receive_some(100) == b""
            assert await theirs.receive_some(100) == b""

    run(main)


def test_tcp_end_without_close_notify_is_end() -> None:
    async def main() -> None:
        async with tls_pair() as (ours, theirs):
            theirs.send_nowait(b"abc")
            theirs.socket.shutdown(socket.SHUT_WR)  # no close_notify
            assert await receive_exactly(ours, 3) == b"abc"
            assert await ours.receive_some(100) == b""

    run(main)


def test_reset_ends_reads_and_discards_unsent_bytes() -> None:
    async def main() -> None:
        async with tls_pair() as (ours, theirs):
            linger = struct.pack("ii", 1, 0)
            theirs.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            trio.lowlevel.notify_closing(theirs.socket)
            theirs.socket.close()
            assert await ours.receive_some(100) == b""
            for _ in range(3):
                ours.send_nowait(b"x" * 1_000_000)
                await ours.flush()
            assert not ours.has_unsent

    run(main)


def test_forged_record_ends_channel_with_ssl_error() -> None:
    async def main() -> None:
        async with tls_pair() as (ours, theirs):
            theirs.socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
            for _ in range(2):
                assert await ours.receive_some(100) == b""
                assert isinstance(ours.failure, ssl.SSLError)

    run(main)


def test_close_of_tls_channel_wakes_waiting_reader_and_writer() -> None:
    async def main() -> None:
        async with tls_pair() as (ours, theirs), trio.open_nursery() as nursery:

            async def receive() -> None:
                assert await ours.receive_some(100) == b""

            async def send() -> None:
                ours.send_nowait(bytes(50 << 20))
                assert ours.has_unsent  # the peer does not read
                await ours.flush()

            nursery.start_soon(receive)
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            ours.close()
            ours.close()
            assert await ours.receive_some(100) == b""  # who comes later sees it, too
            del theirs

    run(main)


def test_bytes_sent_without_waiting_keep_their_order() -> None:
    async def main() -> None:
        async with tls_pair() as (ours, theirs), trio.open_nursery() as nursery:
            parts = [bytes([i]) * 1_000_000 for i in range(20)]
            for part in parts:
                ours.send_nowait(part[:10], part[10:])
            assert ours.has_unsent
            nursery.start_soon(ours.flush)
            assert await receive_exactly(theirs, 20_000_000) == b"".join(parts)
            assert not ours.has_unsent

    run(main)


@contextlib.asynccontextmanager
async def openssl_client(folder: Path) -> AsyncIterator[tuple[TlsChannel, trio.Process]]:
    """A channel whose peer is ``openssl s_client``."""
    (folder / "us.pem").write_bytes(DRIVER.certificate + DRIVER.key)
    (folder / "ca.pem").write_bytes(DRIVER.authority)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        command = ["openssl", "s_client", "-connect", address, "-servername", MACHINE.name]
        process = await trio.lowlevel.open_process(
            [*command, "-cert", "us.pem", "-CAfile", "ca.pem"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            sock, _ = await trio.to_thread.run_sync(listener.accept)
            channel = TlsChannel(sock, MACHINE.server_context(), server_side=True)
            try:
                await channel.handshake()
                yield channel, process
            finally:
                channel.close()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for pipe in (process.stdin, process.stdout):
                    assert pipe is not None
                    await pipe.aclose()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_peer_may_update_keys_while_we_wait_to_send(tmp_path: Path) -> None:
    # Python's ssl can't ask for a KeyUpdate; s_client sends one when its input is ``K``.
    async def main() -> None:
        async with openssl_client(tmp_path) as (channel, process), trio.open_nursery() as nursery:
            assert process.stdin is not None
            assert process.stdout is not None
            await process.stdin.send_all(b"K\n")
            await trio.lowlevel.wait_readable(channel.socket)
            # Nobody reads the output of s_client, so it stops reading its input.
            channel.send_nowait(b"@" * (20 << 20))
            assert channel.has_unsent
            nursery.start_soon(channel.flush)

            async def receive() -> None:
                assert await receive_exactly(channel, 6) == b"after\n"

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            count = 0
            while count < 20 << 20:
                count += (await process.stdout.receive_some(1 << 20)).count(b"@")
            await process.stdin.send_all(b"after\n")

    run(main)


# -- any stream ----------------------------------------------------------------


def test_any_stream_works_as_channel() -> None:
    async def main() -> None:
        for pair in (trio.testing.memory_stream_pair, trio.testing.lockstep_stream_pair):
            ours, theirs = map(StreamChannel, pair())
            async with trio.open_nursery() as nursery:
                for part in (b"one", b"two", b"three"):
                    ours.send_nowait(part)
                assert ours.has_unsent
                nursery.start_soon(ours.flush)
                assert await receive_exactly(theirs, 11, max_bytes=2) == b"onetwothree"
                assert not ours.has_unsent

    run(main)


def test_channel_copies_bytes_it_cannot_send_at_once() -> None:
    async def main() -> None:
        ours, theirs = map(StreamChannel, trio.testing.memory_stream_pair())
        data = bytearray(b"before")
        ours.send_nowait(data)
        data[:] = b"after!"
        await ours.flush()
        assert await receive_exactly(theirs, 6) == b"before"

    run(main)


def test_every_connection_error_of_stream_is_end_of_channel() -> None:
    class Network:
        """A network stream as another HTTP client has it."""

        def __init__(self, error: Exception) -> None:
            self.error = error

        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            raise self.error

        async def write(self, buffer: bytes, timeout: float | None = None) -> None:
            raise self.error

        async def aclose(self) -> None: ...
        def get_extra_info(self, info: str) -> Any: ...

    async def main() -> None:
        import httpcore
        import httpx

        for error in (
            OSError(),
            trio.BrokenResourceError(),
            trio.ClosedResourceError(),
            httpcore.ReadError(),
            httpx.WriteError(""),
        ):
            channel = StreamChannel(Network(error))
            channel.send_nowait(b"x")
            await channel.flush()
            assert not channel.has_unsent
            assert await channel.receive_some(100) == b""
        with pytest.raises(ZeroDivisionError):
            await StreamChannel(Network(ZeroDivisionError())).receive_some(1)

    run(main)


def test_received_bytes_can_be_read_after_failed_write() -> None:
    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        channel = StreamChannel(ours)
        await theirs.send_all(b"bye")
        await theirs.aclose()
        channel.send_nowait(b"x")
        await channel.flush()
        assert await channel.receive_some(100) == b"bye"
        assert await channel.receive_some(100) == b""

    run(main)


def test_close_of_stream_channel_wakes_waiting_reader() -> None:
    async def main() -> None:
        ours, _theirs = trio.testing.memory_stream_pair()
        channel = StreamChannel(ours)
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                assert await channel.receive_some(100) == b""

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            channel.close()
        assert await channel.receive_some(100) == b""

    run(main)
