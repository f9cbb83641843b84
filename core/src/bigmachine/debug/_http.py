"""HTTP/1.1 for people's browsers and scripts: GET requests, on a loopback port."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import h11
import trio

_HEAD_SECONDS = 60.0  # a browser keeps idle connections for some time
_SEND_SECONDS = 30.0
_MAX_HEAD_BYTES = 16 << 10
_READ_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Request:
    """A GET request: its path, the last value of each of its query's names, and its headers."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, whole. ``headers`` come on top of those that all have."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


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
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
    with contextlib.suppress(trio.BrokenResourceError, trio.TooSlowError, OSError):
        async with stream:
            while True:
                try:
                    with trio.fail_after(_HEAD_SECONDS):
                        request = await _next_request(stream, http)
                except h11.RemoteProtocolError:
                    await _send(stream, http, Response(400, b"not a valid request\n"))
                    return
                if request is None:
                    return
                is_read = request.method in (b"GET", b"HEAD")
                response = Response(405, b"GET, please\n", headers={"Allow": "GET, HEAD"})
                if is_read:
                    response = await handler(_parsed(request))
                await _send(stream, http, response, has_body=request.method != b"HEAD")
                if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                    return
                http.start_next_cycle()


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
        "Content-Length": str(len(response.body)),
        **_HEADERS,
        **response.headers,
    }
    data = http.send(h11.Response(status_code=response.status, headers=[*headers.items()])) or b""
    if has_body and response.body:
        data += http.send(h11.Data(data=response.body)) or b""
    data += http.send(h11.EndOfMessage()) or b""
    with trio.fail_after(_SEND_SECONDS):
        await stream.send_all(data)
