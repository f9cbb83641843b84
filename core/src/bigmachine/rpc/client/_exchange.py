"""One HTTP request and its response, over a connection that is theirs alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import h11
import httpx
import trio

from ..transport._channel import Channel
from ..transport._tls import TlsChannel

_READ_BYTES = 16 << 10  # a record of TLS


class Exchange(httpx.AsyncByteStream):
    """Sends a request over ``channel``; a stream of the response's body.

    It is also the network stream of the response, since the connection goes on after an upgrade.
    Its end is that of ``channel``, and of the ``stream`` under that, if there is one.
    """

    def __init__(
        self,
        channel: Channel,
        stream: trio.abc.Stream | None = None,
        *,
        closed: Callable[[Exchange], object],
    ) -> None:
        self.channel = channel
        self._stream = stream
        self._closed = closed
        self._http = h11.Connection(h11.CLIENT)
        self._timeouts: dict[str, float | None] = {}

    async def respond(self, request: httpx.Request) -> httpx.Response:
        """Send the request; return the response as soon as its head is there."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        url, headers = request.url, request.headers.raw
        self._timeouts = request.extensions.get("timeout", {})
        await self._send(h11.Request(method=request.method, target=url.raw_path, headers=headers))
        async for part in request.stream:
            await self._send(h11.Data(data=part))
        await self._send(h11.EndOfMessage())
        head = await self._next_event()
        while isinstance(head, h11.InformationalResponse) and head.status_code != 101:
            head = await self._next_event()
        return httpx.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=self,
            extensions={"network_stream": self, "reason_phrase": bytes(head.reason)},
        )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._next_event(), h11.Data):
            yield bytes(event.data)

    async def aclose(self) -> None:
        self._closed(self)
        self.channel.close()
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)

    @property
    def leading(self) -> bytes:
        """What was received past the head of a response that upgrades the connection."""
        return bytes(self._http.trailing_data[0])

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Receive 1 to ``max_bytes`` bytes; none at the end."""
        with httpx_errors(httpx.ReadError, httpx.ReadTimeout, timeout=timeout):
            data = await self.channel.receive_some(min(max_bytes, _READ_BYTES))
            if not data and self.channel.failure is not None:
                raise self.channel.failure
            return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of ``buffer``."""
        if buffer:
            with httpx_errors(httpx.WriteError, httpx.WriteTimeout, timeout=timeout):
                await self.channel.send_all(buffer)

    def get_extra_info(self, info: str) -> Any:
        """Return the connection's TLS, if ``info`` is ``"ssl_object"``."""
        if info == "ssl_object" and isinstance(self.channel, TlsChannel):
            return self.channel.ssl_object
        return None

    async def _send(self, event: h11.Event) -> None:
        with httpx_errors():
            data = self._http.send(event)
        await self.write(data or b"", self._timeouts.get("write"))

    async def _next_event(self) -> Any:  # h11's events have no common base but object
        while True:
            with httpx_errors():
                event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            data = await self.read(_READ_BYTES, self._timeouts.get("read"))
            if not data and self._http.their_state is h11.SEND_RESPONSE:
                raise httpx.RemoteProtocolError("the connection was closed without a response")
            self._http.receive_data(data)


@contextlib.contextmanager
def httpx_errors(
    failed: type[httpx.NetworkError] = httpx.NetworkError,
    too_slow: type[httpx.TimeoutException] = httpx.TimeoutException,
    *,
    timeout: float | None = None,
) -> Iterator[None]:
    """Raise httpx's errors in place of what the block raises, within ``timeout`` seconds."""
    try:
        with contextlib.nullcontext() if timeout is None else trio.fail_after(timeout):
            yield
    except trio.TooSlowError as exc:
        raise too_slow(str(exc)) from exc
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
        raise failed(str(exc)) from exc
    except h11.RemoteProtocolError as exc:
        raise httpx.RemoteProtocolError(str(exc)) from exc
    except h11.LocalProtocolError as exc:
        raise httpx.LocalProtocolError(str(exc)) from exc
