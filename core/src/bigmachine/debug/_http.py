"""HTTP/1.1 for people's browsers and scripts: GET requests, on a loopback port."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import h11
import trio

from ..errors import BigmachineError, UsageError

HEAD_SECONDS = 60.0
"""How long the head of a request may take; a browser keeps idle connections for some time."""

MAX_HEAD_BYTES = 16 << 10
"""The longest head of a request."""

_SEND_SECONDS = 30.0
_END_SECONDS = 0.5  # for the end of a body, when the session is over
_READ_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Request:
    """A GET request: its path, the last value of each of its query's names, and its headers."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. ``headers`` come on top of those that all have.

    With ``parts``, the body is not known yet: each part is sent when it comes.
    """

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: AsyncGenerator[bytes, None] | None = None


Handler = Callable[[Request], Awaitable[Response]]

# Nothing is loaded from elsewhere, framed by others, kept on disk, or told to other pages.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


async def serve_connection(stream: trio.abc.Stream, handler: Handler) -> None:
    """Answer the requests of one connection until it ends, or its peer is too slow."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    with contextlib.suppress(trio.BrokenResourceError, trio.TooSlowError, OSError):
        async with stream:
            while True:
                try:
                    with trio.fail_after(HEAD_SECONDS):
                        request = await _next_request(stream, http)
                except h11.RemoteProtocolError:
                    await _send(stream, http, Response(400, b"not a valid request\n"))
                    return
                if request is None:
                    return
                is_read = request.method in (b"GET", b"HEAD")
                response = Response(405, b"GET, please\n", headers={"Allow": "GET, HEAD"})
                if is_read:
                    answer: Response | None = None
                    async with _while_connected(stream, http):
                        answer = await handler(_parsed(request))
                    if answer is None:  # the peer has gone
                        return
                    response = answer
                await _send(stream, http, response, has_body=request.method != b"HEAD")
                if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                    return
                http.start_next_cycle()


@contextlib.asynccontextmanager
async def _while_connected(stream: trio.abc.Stream, http: h11.Connection) -> AsyncIterator[None]:
    """Cut the block short when the peer goes away."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_await_end, stream, http, nursery.cancel_scope)
        yield
        nursery.cancel_scope.cancel()


async def _next_request(stream: trio.abc.Stream, http: h11.Connection) -> h11.Request | None:
    """Return the next request, once it has ended; None at the end of the connection."""
    request: h11.Request | None = None
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(_READ_BYTES)))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            raise h11.RemoteProtocolError("a request with a body")
        elif isinstance(event, h11.EndOfMessage):
            return request
        else:
            return None


def _parsed(request: h11.Request) -> Request:
    path, _, text = request.target.decode("latin-1").partition("?")
    query = {name: values[-1] for name, values in parse_qs(text).items()}
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
    return Request(path, query, headers)


async def _send(
    stream: trio.abc.Stream, http: h11.Connection, response: Response, *, has_body: bool = True
) -> None:
    headers = {
        "Content-Type": response.content_type,
        **_HEADERS,
        **response.headers,
    }
    if response.parts is None:
        headers["Content-Length"] = str(len(response.body))
    data = http.send(h11.Response(status_code=response.status, headers=[*headers.items()])) or b""
    if has_body and response.parts is not None:
        await _send_all(stream, data)
        await _send_parts(stream, http, response.parts)
        return
    if has_body and response.body:
        data += http.send(h11.Data(data=response.body)) or b""
    await _send_all(stream, data + (http.send(h11.EndOfMessage()) or b""))


async def _send_parts(
    stream: trio.abc.Stream, http: h11.Connection, parts: AsyncGenerator[bytes, None]
) -> None:
    """Send parts as they come, until they end, or the peer does, or this is cancelled.

    If it is cancelled, because the session is over, the body ends as it should.
    """
    is_broken = False
    async with contextlib.aclosing(parts), _while_connected(stream, http):
        try:
            async for part in parts:
                await _send_all(stream, http.send(h11.Data(data=part)) or b"")
        except (trio.BrokenResourceError, trio.TooSlowError):
            is_broken = True
        finally:
            if not is_broken:
                with trio.move_on_after(_END_SECONDS, shield=True), _cut_off():
                    await stream.send_all(http.send(h11.EndOfMessage()) or b"")
    if is_broken:
        raise trio.BrokenResourceError


async def _await_end(
    stream: trio.abc.Stream, http: h11.Connection, scope: trio.CancelScope
) -> None:
    """Cancel ``scope`` when the peer closes the connection; what it sends is for later."""
    with _cut_off():
        if data := await stream.receive_some(_READ_BYTES):
            http.receive_data(bytes(data))
            return
    scope.cancel()


def _cut_off() -> contextlib.AbstractContextManager[None]:
    return contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError)


async def _send_all(stream: trio.abc.Stream, data: bytes) -> None:
    with trio.fail_after(_SEND_SECONDS):
        await stream.send_all(data)


async def answered(route: Handler, request: Request) -> Response:
    """Return what a route answers, or its error as text."""
    try:
        return await route(request)
    except UsageError as error:
        return Response(400, f"{error}\n".encode())
    except BigmachineError as error:
        return Response(503, f"{error}\n".encode())
