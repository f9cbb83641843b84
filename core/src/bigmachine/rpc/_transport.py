"""The default HTTP client: httpx over httpcore over `TlsChannel`.

httpx has no way to choose httpcore's network backend, so a small transport of our
own puts them together. All that other code sees is an `httpx.AsyncClient`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import httpcore
import httpx
import trio

from .._identity import Identity
from ._channel import Channel, TlsChannel

CHANNEL_INFO = "bigmachine.channel"
"""What to ask a network stream for to get the `Channel` under it."""


def http_client(identity: Identity) -> httpx.AsyncClient:
    """Return a client that dials machines over TCP and TLS 1.3 as ``identity``.

    Requests name the machine in their ``sni_hostname`` extension; it is verified.
    """
    return httpx.AsyncClient(transport=_Transport(identity.client_context()), timeout=None)


class _Transport(httpx.AsyncBaseTransport):
    """httpx's transport interface over a connection pool with our network backend."""

    def __init__(self, context: ssl.SSLContext) -> None:
        # No limits: an upgraded connection holds its place in the pool while it lives.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=0,
            http1=True,
            http2=False,
            network_backend=_NetworkBackend(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        url = request.url
        with _httpx_errors():
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_ResponseStream(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _ResponseStream(httpx.AsyncByteStream):
    """A response's body, its errors as httpx's."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()


class _NetworkBackend(httpcore.AsyncNetworkBackend):
    """Dials for httpcore: TCP by trio, then TLS by `TlsChannel`."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _httpcore_errors(httpcore.ConnectError, httpcore.ConnectTimeout), _within(timeout):
            stream = await trio.open_tcp_stream(host, port, local_address=local_address)
            return _TcpStream(socket.socket(fileno=stream.socket.detach()))

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _TcpStream(httpcore.AsyncNetworkStream):
    """A connected socket that waits for its TLS; machines don't speak in clear."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _httpcore_errors(httpcore.ConnectError, httpcore.ConnectTimeout):
            channel = TlsChannel(self._sock, ssl_context, server_hostname=server_hostname)
            try:
                with _within(timeout):
                    await channel.handshake()
            except BaseException:
                channel.close()
                raise
        return _TlsStream(channel)

    async def aclose(self) -> None:
        self._sock.close()

    def get_extra_info(self, info: str) -> Any:
        return self._sock if info == "socket" else None


class _TlsStream(httpcore.AsyncNetworkStream):
    """A `TlsChannel` as httpcore's network stream."""

    def __init__(self, channel: TlsChannel) -> None:
        self._channel = channel

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _httpcore_errors(httpcore.ReadError, httpcore.ReadTimeout), _within(timeout):
            data = await self._channel.receive_some(min(max_bytes, 64 << 10))
            if not data and self._channel.failure is not None:
                raise self._channel.failure
            return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            with _httpcore_errors(httpcore.WriteError, httpcore.WriteTimeout), _within(timeout):
                await self._channel.send_all(buffer)

    async def aclose(self) -> None:
        self._channel.close()

    def get_extra_info(self, info: str) -> Any:
        if info == CHANNEL_INFO:
            return self._channel
        if info == "ssl_object":
            return self._channel.ssl_object
        return self._channel.socket if info == "socket" else None


def channel_of(stream: Any) -> Channel | None:
    """Return the channel under a response's network stream, if it is one of ours."""
    info = getattr(stream, "get_extra_info", None)
    channel = info(CHANNEL_INFO) if info is not None else None
    return channel if isinstance(channel, Channel) else None


@contextlib.contextmanager
def _within(timeout: float | None) -> Iterator[None]:
    if timeout is None:
        yield
    else:
        with trio.fail_after(timeout):
            yield


@contextlib.contextmanager
def _httpcore_errors(
    failed: type[httpcore.NetworkError], too_slow: type[httpcore.TimeoutException]
) -> Iterator[None]:
    try:
        yield
    except trio.TooSlowError as exc:
        raise too_slow(str(exc)) from exc
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
        raise failed(str(exc)) from exc


@contextlib.contextmanager
def _httpx_errors() -> Iterator[None]:
    """Translate httpcore's errors to httpx's of the same name."""
    try:
        yield
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as exc:
        same = getattr(httpx, type(exc).__name__, httpx.TransportError)
        raise same(str(exc)) from exc
