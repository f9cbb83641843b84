"""One HTTP/1.1 connection of the machine's server.

``GET /rpc`` with ``Upgrade: bigmachine/1`` turns the connection into a frame connection, or into
a lane of one.
``POST /rpc/Service.method`` is the plain way, for curl and for HTTP clients that can't
upgrade: a pickled ``(args, kwargs)``, or JSON ``{"args": […], "kwargs": {…}}``, answered
in kind. Status 590 means that the method raised.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

import h11
import trio

from ...errors import UsageError
from .._exceptions import CallError
from .._marshal import no_memory
from .._protocol import (
    CONNECTION_HEADER,
    LANE_HEADER,
    LIMIT_HEADER,
    MEMORY_HEADER,
    PROTOCOL,
    STATUS_RAISED,
)
from ..transport._channel import Channel
from ._encodings import Encoding, JsonEncoding, PickleEncoding
from ._registry import Services
from .calls._post_call import PostCall
from .calls._traced_call import TracedPostCall
from .lanes._served_lane import ServedLane
from .pools._pools import Pools

HEAD_TIMEOUT = 60.0
"""How long the head of a request may take, from the end of the one before, in seconds."""

MAX_HEAD_BYTES = 16 << 10
"""The longest head of a request, or of a part of its body."""

_READ_BYTES = 16 << 10  # a record of TLS; the memory for more would only be filled with zeros
_PIECE_BYTES = 1 << 20  # of a response: so much the peer must read within the silence timeout


class HttpConnection:
    """Serves one authenticated peer's requests, until an upgrade or the end.

    `trio.TooSlowError` if the peer is too slow: with the head of a request, with more of its
    body, or in reading a response. ``token`` names the connection for its lanes, if it can have
    some; ``new_lane`` returns the lane that a request asks for, or None; ``offer_memory`` what to
    say to a peer with which memory can be shared.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        services: Services,
        pools: Pools,
        limit_bytes: int,
        silence_timeout: float,
        token: str = "",
        new_lane: Callable[[str], ServedLane | None] = lambda _: None,
        offer_memory: Callable[[], str] = lambda: "",
    ) -> None:
        self._channel = channel
        self._token = token
        self._new_lane = new_lane
        self._offer_memory = offer_memory
        self._services = services
        self._pools = pools
        self._limit_bytes = limit_bytes
        self._silence_timeout = silence_timeout
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    async def run(self) -> Upgrade | None:
        """Answer requests; return the first upgrade."""
        while True:
            try:
                with trio.fail_after(HEAD_TIMEOUT):
                    event = await self._next_event()
                if not isinstance(event, h11.Request):
                    return None
                if (upgrade := await self._respond(event)) is not None:
                    return upgrade
            except h11.RemoteProtocolError:
                await self._send(400, b"not a valid request\n")
                return None
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return None
            self._http.start_next_cycle()

    async def _respond(self, request: h11.Request) -> Upgrade | None:
        """Answer one request."""
        path = request.target.decode("ascii", "replace").partition("?")[0]
        headers = dict(request.headers)
        if path == "/rpc" and request.method == b"GET":
            if headers.get(b"upgrade", b"").decode("latin-1") == PROTOCOL:
                return await self._upgrade(headers.get(LANE_HEADER.encode()))
            await self._send(426, f"this is {PROTOCOL}\n".encode(), {"upgrade": PROTOCOL})
        elif path.startswith("/rpc/") and request.method == b"POST":
            await self._post(unquote(path.removeprefix("/rpc/")), headers)
        else:
            await self._send(404, b"bigmachine: POST /rpc/Service.method, or upgrade at /rpc\n")
        return None

    async def _upgrade(self, wanted_lane: bytes | None) -> Upgrade | None:
        with trio.fail_after(HEAD_TIMEOUT):
            while not isinstance(await self._next_event(), (h11.EndOfMessage, type(h11.PAUSED))):
                pass
        lane = None
        headers = [("connection", "upgrade"), ("upgrade", PROTOCOL)]
        if wanted_lane is not None:
            lane = self._new_lane(wanted_lane.decode("latin-1"))
            if lane is None:
                await self._send(409, b"there can be no such lane\n")
                return None
        else:
            headers.append((LIMIT_HEADER, str(self._limit_bytes)))
            if self._token:
                headers.append((CONNECTION_HEADER, self._token))
        if offer := self._offer_memory():
            headers.append((MEMORY_HEADER, offer))
        response = h11.InformationalResponse(status_code=101, headers=headers)
        try:
            await self._channel.send_all(self._http.send(response))
        except BaseException:
            if lane is not None:
                lane.end()
            raise
        leading, _ = self._http.trailing_data
        return Upgrade(bytes(leading), lane)

    async def _post(self, name: str, headers: dict[bytes, bytes]) -> None:
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        encoding: Encoding = PickleEncoding()
        if content_type.startswith(JsonEncoding.content_type):
            encoding = JsonEncoding()
        status, body = await self._call(name, headers, encoding)
        await self._send(status, body, {"content-type": encoding.content_type})

    async def _call(
        self, name: str, headers: dict[bytes, bytes], encoding: Encoding
    ) -> tuple[int, bytes]:
        try:
            args, kwargs = encoding.load_arguments(name, await self._body(name, headers))
        except UsageError as exc:
            return 400, encoding.dump_error(CallError(exc))
        try:
            method = self._services.find(name)
        except UsageError as exc:
            return STATUS_RAISED, encoding.dump_error(CallError(exc))
        new_call: Callable[..., PostCall] = PostCall
        if self._pools.trace is not None and not method.is_of_supervisor:
            fields = {name.decode(): value.decode("latin-1") for name, value in headers.items()}
            new_call = functools.partial(TracedPostCall, trace=self._pools.trace, headers=fields)
        call = new_call(method, args, kwargs, encoding=encoding, pools=self._pools)
        return await call.response()

    async def _body(self, method: str, headers: dict[bytes, bytes]) -> bytearray:
        """Return the body of a request; `UsageError` if there is no room for it.

        One that there is no memory for is read nevertheless: the connection lives on.
        """
        body: bytearray | None = bytearray()
        received = 0
        # h11 has checked that it is a number.
        size = int(headers.get(b"content-length", b"0"))
        while max(size, received) <= self._limit_bytes:
            with trio.fail_after(self._silence_timeout):
                event = await self._next_event()
            if not isinstance(event, h11.Data):
                if body is None:
                    raise no_memory(method, received)
                return body
            received += len(event.data)
            if body is not None:
                try:
                    body += event.data
                except MemoryError:
                    body = None
        raise UsageError(f"the request is larger than {self._limit_bytes} bytes")

    async def _send(
        self, status: int, content: bytes, headers: dict[str, str] | None = None
    ) -> None:
        lines = [*(headers or {}).items(), ("content-length", str(len(content)))]
        if self._http.their_state is h11.SEND_BODY and not isinstance(
            self._http.next_event(), h11.EndOfMessage
        ):
            lines.append(("connection", "close"))  # rather than read a body that nobody wants
        with contextlib.suppress(h11.LocalProtocolError):  # the peer can't be answered any more
            head = self._http.send(h11.Response(status_code=status, headers=lines)) or b""
            for at in range(0, len(content) or 1, _PIECE_BYTES):
                data = self._http.send(h11.Data(data=content[at : at + _PIECE_BYTES])) or b""
                with trio.fail_after(self._silence_timeout):
                    await self._channel.send_all(head + data)
                head = b""
            self._http.send(h11.EndOfMessage())

    async def _next_event(self) -> Any:  # h11's events have no common base but object
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                go = h11.InformationalResponse(status_code=100, headers=[])
                await self._channel.send_all(self._http.send(go))
            self._http.receive_data(await self._channel.receive_some(_READ_BYTES))


class Upgrade(NamedTuple):
    """What became of a connection, with the bytes that already followed the request."""

    leading: bytes
    lane: ServedLane | None
