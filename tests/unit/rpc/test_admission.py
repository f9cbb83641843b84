"""Which connections a machine keeps: strangers, members that are slow or silent, floods."""

from __future__ import annotations

import contextlib
import errno
import gzip
import logging
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from bigmachine.errors import ProtocolError
from bigmachine.rpc import FrameConnection, PostConnection, Server, dial, http_client, read_body
from bigmachine.rpc._protocol import PROTOCOL
from bigmachine.rpc.server import _admission as admission
from bigmachine.rpc.server._admission import (
    HANDSHAKE_TIMEOUT,
    MAX_STRANGERS,
    Admission,
    AdmittingListener,
)
from bigmachine.rpc.server._http import HEAD_TIMEOUT
from tests.unit.rpc.wires import AUTHORITY, DRIVER, MACHINE, call_over, run, services, serving

SILENCE = 100.0


class Service:
    async def add(self, a: int, b: int) -> int:
        return a + b

    def text(self, size: int) -> str:
        return "x" * size


async def is_closed(stream: trio.abc.ReceiveStream) -> bool:
    with contextlib.suppress(trio.BrokenResourceError):
        return not await stream.receive_some()
    return True


# -- strangers -----------------------------------------------------------------


def test_driver_gets_in_while_strangers_hold_connections() -> None:
    async def main() -> None:
        async with serving(Service()) as (server, address), http_client(DRIVER) as http:
            host, _, port = address.partition(":")
            streams = [await trio.open_tcp_stream(host, int(port)) for _ in range(300)]
            for number, stream in enumerate(streams):
                if number % 3:  # the others are silent
                    await stream.send_all(b"\x16\x03\x01" if number % 3 == 1 else b"GET /")
            post = PostConnection(http, base=f"https://{address}", addr="a", machine=MACHINE.name)
            assert await call_over(post, "S.add", (1, 2), {}) == 3
            for stream in streams[: 300 - MAX_STRANGERS - 1]:
                assert await is_closed(stream)
            assert len(server._admission._strangers) < MAX_STRANGERS
            for stream in streams:
                await trio.aclose_forcefully(stream)

    run(main)


@contextlib.asynccontextmanager
async def in_memory() -> AsyncIterator[MemoryListener]:
    """A server whose network and clock are the test's."""
    listener = MemoryListener()
    server = Server(services(Service()), identity=MACHINE, maxprocs=1, silence_timeout=SILENCE)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, [listener])
        yield listener
        nursery.cancel_scope.cancel()


class MemoryListener(trio.abc.Listener[Any]):
    def __init__(self) -> None:
        self._dialled, self._accepted = trio.open_memory_channel[Any](1000)

    async def accept(self) -> Any:
        return await self._accepted.receive()

    async def aclose(self) -> None:
        self._accepted.close()

    def dial(self) -> trio.StapledStream[Any, Any]:
        ours, theirs = trio.testing.memory_stream_pair()
        self._dialled.send_nowait(theirs)
        return ours

    async def connect(self, host: str, port: int) -> Any:
        return self.dial()

    async def member(self) -> trio.SSLStream[Any]:
        tls = trio.SSLStream(
            self.dial(),
            DRIVER.client_context(),
            server_hostname=MACHINE.name,
            https_compatible=True,
        )
        await tls.do_handshake()
        return tls


def ticking() -> Any:
    return trio.testing.MockClock(autojump_threshold=0.01)


def test_slow_handshake_is_ended() -> None:
    async def main() -> None:
        async with in_memory() as listener:
            began = trio.current_time()
            stream = listener.dial()
            hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600)
            with contextlib.suppress(trio.BrokenResourceError):
                for byte in hello:  # one of them every five seconds
                    await stream.send_all(bytes([byte]))
                    await trio.sleep(5)
            assert trio.current_time() - began <= HANDSHAKE_TIMEOUT + 5

    run(main, clock=ticking())


def test_slow_request_of_member_is_ended() -> None:
    head = b"POST /rpc/S.add HTTP/1.1\r\nhost: m\r\n"
    sized = head + b"content-length: 100\r\n\r\n"

    async def main() -> None:
        async with in_memory() as listener:
            for beginning, pause, limit in (
                (b"", 5, HEAD_TIMEOUT),
                (head, 5, HEAD_TIMEOUT),
                (sized, 2 * SILENCE, SILENCE),
            ):
                began = trio.current_time()
                stream = await listener.member()
                if beginning:
                    await stream.send_all(beginning)
                with contextlib.suppress(trio.BrokenResourceError):
                    while True:
                        await stream.send_all(b"x")
                        await trio.sleep(pause)
                assert limit <= trio.current_time() - began <= limit + 2 * pause
            # A slow body is fine, as long as it comes.
            stream = await listener.member()
            body = b'{"args": [1, 2]}'
            await stream.send_all(
                head + b"content-type: application/json\r\ncontent-length: 16\r\n\r\n"
            )
            for byte in body:
                await trio.sleep(SILENCE * 0.9)
                await stream.send_all(bytes([byte]))
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")

    run(main, clock=ticking())


@pytest.mark.parametrize("asks", [True, False])
def test_frame_connection_ends_if_peer_is_silent(asks: bool) -> None:
    async def main() -> None:
        async with (
            in_memory() as listener,
            http_client(DRIVER, connect=listener.connect) as http,
            dial(http, f"https://m:1#{MACHINE.name}") as connection,
            trio.open_nursery() as nursery,
        ):
            assert isinstance(connection, FrameConnection)
            nursery.start_soon(connection.run)
            with trio.move_on_after(10 * SILENCE):
                while asks and connection.is_open:
                    assert await call_over(connection, "S.add", (1, 2), {}) == 3
                    await trio.sleep(SILENCE * 0.9)
                await trio.sleep_forever()
            assert connection.is_open == asks
            nursery.cancel_scope.cancel()

    run(main, clock=ticking())


def test_lack_of_descriptors_drops_strangers_and_passes(caplog: pytest.LogCaptureFixture) -> None:
    class Exhausted(MemoryListener):
        failures = 100

        async def accept(self) -> Any:
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return await super().accept()

    async def main() -> None:
        kept = Admission()
        listener = Exhausted()
        ours = listener.dial()
        ended = trio.Event()

        async def stranger() -> None:
            with contextlib.suppress(trio.TooSlowError), kept.stranger():
                await trio.sleep_forever()
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stranger)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            with caplog.at_level(logging.WARNING, "bigmachine.rpc"):
                theirs = await AdmittingListener(listener, kept).accept()
            assert ended.is_set()
            # It waits in between, and says it once.
            assert trio.current_time() - began >= 9
            assert caplog.messages == ["no connection can be accepted: Too many open files"]
            await ours.send_all(b"x")
            assert await theirs.receive_some() == b"x"

    run(main, clock=ticking())


# -- members -------------------------------------------------------------------


def test_one_member_cannot_have_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_MEMBER_CONNECTIONS", 10)

    async def main() -> None:
        async with serving(Service()) as (_, address), http_client(DRIVER) as http:
            host, _, port = address.partition(":")
            context = AUTHORITY.issue("m7").client_context()
            streams = []
            for _ in range(12):
                stream = trio.SSLStream(
                    await trio.open_tcp_stream(host, int(port)),
                    context,
                    server_hostname=MACHINE.name,
                    https_compatible=True,
                )
                await stream.do_handshake()
                streams.append(stream)
            assert await is_closed(streams[10])
            assert await is_closed(streams[11])
            for stream in streams[:10]:
                await stream.send_all(b"GET / HTTP/1.1\r\nhost: m\r\n\r\n")
                assert b" 404 " in await stream.receive_some()
            post = PostConnection(http, base=f"https://{address}", addr="a", machine=MACHINE.name)
            assert await call_over(post, "S.add", (1, 2), {}) == 3
            for stream in streams:
                await trio.aclose_forcefully(stream)

    run(main)


# -- a machine's responses -----------------------------------------------------

MIB = 1 << 20


class Endless(httpx.AsyncByteStream):
    sent = 0

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> bytes:
        self.sent += MIB
        return bytes(MIB)


def answering(*content: bytes, status: int = 200, **headers: str) -> httpx.AsyncClient:
    """A client whose machine gives that response to everything."""

    async def parts() -> AsyncIterator[bytes]:
        for part in content:
            yield part

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.method == "GET" or request.headers["accept-encoding"] == "identity"
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.Response(status, headers=lines, content=parts())

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


def test_compressed_response_is_refused() -> None:
    async def main() -> None:
        bomb = gzip.compress(bytes(100 * MIB))
        for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "x" * 1000):
            async with answering(bomb, content_encoding=encoding) as http:
                post = PostConnection(http, base="https://m:1", addr="m", machine="m0")
                with pytest.raises(ProtocolError, match=f"a response that is '{encoding[:40]}'"):
                    await call_over(post, "S.add", (1, 2), {})

    run(main)


def test_response_over_limit_is_refused_while_it_comes() -> None:
    async def main() -> None:
        endless = Endless()
        response = httpx.Response(200, stream=endless)
        with pytest.raises(ProtocolError, match="over 3000000 bytes"):
            await read_body(response, limit_bytes=3_000_000, addr="m")
        assert endless.sent == 3 * MIB
        async with answering(b"123", b"45") as http, http.stream("GET", "https://m:1/") as exact:
            assert await read_body(exact, limit_bytes=5, addr="m") == b"12345"

    run(main)


@pytest.mark.parametrize("limit", ["", "-1", "x", "1e3", "٣", "9" * 5000, " ", "0x10"])
def test_invalid_limit_of_machine_is_protocol_error(limit: str) -> None:
    async def main() -> None:
        head = {"upgrade": PROTOCOL, "bigmachine-limit": limit.encode()}

        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(101, headers=head, extensions={"network_stream": object()})  # type: ignore[arg-type]

        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            with pytest.raises(ProtocolError, match="its limit is"):
                async with dial(http, "https://m:1#m0"):
                    pass

    run(main)


def test_response_that_is_not_read_is_ended() -> None:
    async def main() -> None:
        async with serving(Service(), silence_timeout=0.5) as (server, address):
            host, _, port = address.partition(":")
            stream = await trio.open_ssl_over_tcp_stream(
                host, int(port), https_compatible=True, ssl_context=_named_context()
            )
            await stream.send_all(
                b"POST /rpc/S.text HTTP/1.1\r\nhost: m\r\ncontent-type: application/json\r\n"
                b'content-length: 21\r\n\r\n{"args": [100000000]}'
            )
            assert (await stream.receive_some(12)) == b"HTTP/1.1 200"
            while server._admission._members:
                await trio.sleep(0.01)
            await trio.aclose_forcefully(stream)

    run(main)


def _named_context() -> ssl.SSLContext:
    class Named(ssl.SSLContext):
        def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
            return super().wrap_bio(*args, **{**kwargs, "server_hostname": MACHINE.name})

    context = DRIVER.client_context()
    context.__class__ = Named
    return context
