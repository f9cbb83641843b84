"""The HTTP client that reaches machines: httpx over our own TLS.

httpx's own transport has no place for that, so this is one of ours. Most code only sees an
`httpx.AsyncClient`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import trio

from ..._identity import Identity
from ..transport._channel import StreamChannel
from ..transport._tls import TlsChannel
from ._exchange import Exchange, httpx_errors

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
        self._machine_transport = _Transport(context, connect)
        super().__init__(transport=self._machine_transport, timeout=None)

    @property
    def connect(self) -> Connect:
        """What opens the byte stream under each connection."""
        return self._machine_transport.connect

    @connect.setter
    def connect(self, connect: Connect) -> None:
        self._machine_transport.connect = connect

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
    """httpx's transport interface, with a connection for each request.

    Nearly all are upgraded, and then live as long as their machine: a pool could use none of
    them again.
    """

    def __init__(self, context: ssl.SSLContext, connect: Connect) -> None:
        self.connect = connect
        self._context = context
        self._exchanges: set[Exchange] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeout = request.extensions.get("timeout", {}).get("connect")
        with httpx_errors(httpx.ConnectError, httpx.ConnectTimeout, timeout=timeout):
            exchange = await self._open(request)
        self._exchanges.add(exchange)
        try:
            return await exchange.respond(request)
        except BaseException:
            await exchange.aclose()
            raise

    async def aclose(self) -> None:
        for exchange in [*self._exchanges]:
            await exchange.aclose()

    async def _open(self, request: httpx.Request) -> Exchange:
        """Connect, by TLS: machines accept nothing else."""
        host = request.url.raw_host.decode("ascii")
        stream = await self.connect(host, request.url.port or _HTTPS_PORT)
        name = request.extensions.get("sni_hostname", host)
        if isinstance(stream, trio.SocketStream):
            sock = socket.socket(fileno=stream.socket.detach())
            tls = TlsChannel(sock, self._context, server_hostname=name)
            exchange = Exchange(tls, closed=self._exchanges.discard)
            handshake = tls.handshake
        else:
            layer = trio.SSLStream(
                stream, self._context, server_hostname=name, https_compatible=True
            )
            exchange = Exchange(StreamChannel(layer), layer, closed=self._exchanges.discard)
            handshake = layer.do_handshake
        try:
            await handshake()
        except BaseException:
            await exchange.aclose()
            raise
        return exchange


_HTTPS_PORT = 443
