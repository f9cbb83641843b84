"""The HTTP client that reaches machines: httpx over httpcore over our own TLS.

httpx has no way to choose httpcore's network backend, so a small transport of our
own joins them. Most code only sees an `httpx.AsyncClient`.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

import httpcore
import httpx
import trio

from ..._identity import Identity
from .._channel import Channel, StreamChannel
from .._tls import TlsChannel

CHANNEL_INFO = "bigmachine.channel"
"""The extra info of a network stream that is the `Channel` under it."""

Connect = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Opens a byte stream to a host and port; raises `OSError` when it can't."""


def http_client(identity: Identity, *, connect: Connect = trio.open_tcp_stream) -> MachineClient:
    """Return a client that dials machines as ``identity``, by TLS 1.3 over what ``connect`` opens.

    The default is TCP; a backend whose machines are behind a tunnel brings its own.
    Requests name the machine in their ``sni_hostname`` extension; it is verified.
    """
    return MachineClient(identity.client_context(), connect)


class MachineClient(httpx.AsyncClient):
    """What `http_client` returns.

    A wrapper that puts itself between a client and its machines may replace ``connect``:
    it opens every connection from then on.
    """

    def __init__(self, context: ssl.SSLContext, connect: Connect) -> None:
        self._network = _NetworkBackend(connect)
        self._machine_transport = _Transport(context, self._network)
        super().__init__(transport=self._machine_transport, timeout=None)

    @property
    def connect(self) -> Connect:
        """What opens the byte stream under each connection."""
        return self._network.connect

    @connect.setter
    def connect(self, connect: Connect) -> None:
        self._network.connect = connect

    async def send(
        self, request: httpx.Request, *, stream: bool = False, **options: Any
    ) -> httpx.Response:
        """Send a request to a machine, without cookies, redirects and event hooks.

        httpx's own method also logs each request at level INFO, in the user's log.
        """
        if self.is_closed:
            raise RuntimeError("the client is closed")
        response = await self._machine_transport.handle_async_request(request)
        response.request = request
        if not stream:
            try:
                await response.aread()
            except BaseException:
                await response.aclose()
                raise
        return response


class _Transport(httpx.AsyncBaseTransport):
    """httpx's transport interface over httpcore, with a connection for each request.

    Nearly all are upgraded, and then live as long as their machine: a pool could use none of
    them again, and would look through all of them for each new request.
    """

    def __init__(self, context: ssl.SSLContext, network: _NetworkBackend) -> None:
        self._context = context
        self._network = network
        self._connections: set[httpcore.AsyncHTTPConnection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        url = request.url
        core_request = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        connection = httpcore.AsyncHTTPConnection(
            core_request.url.origin, ssl_context=self._context, network_backend=self._network
        )
        self._connections.add(connection)
        try:
            with _httpx_errors():
                response = await connection.handle_async_request(core_request)
        except BaseException:
            await self._close(connection)
            raise
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_ResponseStream(response, close=functools.partial(self._close, connection)),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        for connection in [*self._connections]:
            await self._close(connection)

    async def _close(self, connection: httpcore.AsyncHTTPConnection) -> None:
        self._connections.discard(connection)
        await connection.aclose()


class _ResponseStream(httpx.AsyncByteStream):
    """A response's body, with its errors translated to httpx's; ``close`` ends its connection."""

    def __init__(self, response: httpcore.Response, close: Callable[[], Awaitable[None]]) -> None:
        self._response = response
        self._close = close

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        try:
            await self._response.aclose()
        finally:
            await self._close()


class _NetworkBackend(httpcore.AsyncNetworkBackend):
    """Dials for httpcore."""

    def __init__(self, connect: Connect) -> None:
        self.connect = connect

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _httpcore_errors(httpcore.ConnectError, httpcore.ConnectTimeout), _within(timeout):
            return _ClearStream(await self.connect(host, port))

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _ClearStream(httpcore.AsyncNetworkStream):
    """A connection before its TLS handshake; machines accept nothing without TLS."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _httpcore_errors(httpcore.ConnectError, httpcore.ConnectTimeout), _within(timeout):
            if isinstance(self._stream, trio.SocketStream):
                sock = socket.socket(fileno=self._stream.socket.detach())
                channel = TlsChannel(sock, ssl_context, server_hostname=server_hostname)
                try:
                    await channel.handshake()
                except BaseException:
                    channel.close()
                    raise
                return _TlsStream(channel)
            tls = trio.SSLStream(
                self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True
            )
            try:
                await tls.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(tls)
                raise
            return _TlsStream(StreamChannel(tls), stream=tls)

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)

    def get_extra_info(self, info: str) -> Any:
        return None


class _TlsStream(httpcore.AsyncNetworkStream):
    """A secure `Channel` as httpcore's network stream; ``stream`` is closed with it."""

    def __init__(self, channel: Channel, *, stream: trio.abc.Stream | None = None) -> None:
        self._channel = channel
        self._stream = stream

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
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)

    def get_extra_info(self, info: str) -> Any:
        if info == CHANNEL_INFO:
            return self._channel
        if info == "ssl_object" and isinstance(self._channel, TlsChannel):
            return self._channel.ssl_object
        return None


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
