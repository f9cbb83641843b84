"""The cloud of a host, as the host sees it: extra files of its image, and HTTP answers."""

from __future__ import annotations

import abc
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import trio

if TYPE_CHECKING:
    from tests.support.cloudbox._host import Host


class Cloud(abc.ABC):
    """The cloud of one host. Attributes may be changed while the host runs, and it sees this."""

    nspawn_options: tuple[str, ...] = ()

    @abc.abstractmethod
    def files(self, host: Host, /) -> dict[str, bytes]:
        """Return files to add to the image, by path without the first slash."""

    @abc.abstractmethod
    async def answer(self, request: Request, host: Host, /) -> Response:
        """Answer a request of the host to its metadata service."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a host. ``to`` is the address of the service; names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    to: str


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a `Request`."""

    status: int = 200
    body: str | bytes = ""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, value: Any, *, status: int = 200) -> Response:
        return cls(status, json.dumps(value), {"Content-Type": "application/json"})


def find(tree: Any, path: str) -> Any:
    """Return the value at a path in a tree of dictionaries and lists, or raise `LookupError`."""
    for step in filter(None, path.split("/")):
        if isinstance(tree, list):
            tree = dict(zip(map(str, range(len(tree))), tree, strict=True))
        if not isinstance(tree, dict):
            raise LookupError(step)
        tree = tree[step]
    return tree


def listing(tree: Any) -> str:
    """List the names in a tree, one a line, folders with a slash, as metadata services do."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return "\n".join(f"{name}/" if isinstance(at, dict | list) else str(name) for name, at in items)


async def serve(
    listeners: list[trio.SocketListener],
    answer: Callable[[Request, str], Awaitable[Response]],
) -> None:
    """Serve HTTP until cancelled. ``answer`` gets each request and the address of its sender."""

    async def handle(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, h11.RemoteProtocolError):
            await _handle(stream, answer)

    await trio.serve_listeners(handle, listeners)


@contextlib.asynccontextmanager
async def serving(answer: Callable[[Request, str], Awaitable[Response]]) -> AsyncIterator[str]:
    """Serve HTTP on a port of loopback while the block runs; yield the URL. See `serve`."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, listeners, answer)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def _handle(
    stream: trio.SocketStream, answer: Callable[[Request, str], Awaitable[Response]]
) -> None:
    sender, to = stream.socket.getpeername()[0], stream.socket.getsockname()[0]
    connection = h11.Connection(h11.SERVER)
    while True:
        head, body = None, b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.ConnectionClosed):
                return
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
        assert head is not None
        url = urlsplit(head.target.decode())
        request = Request(
            head.method.decode(),
            unquote(url.path),
            {name.lower(): value for name, value in parse_qsl(url.query)},
            {name.decode(): value.decode() for name, value in head.headers},
            body,
            to,
        )
        response = await answer(request, sender)
        data = response.body.encode() if isinstance(response.body, str) else response.body
        headers = {"Content-Length": str(len(data)), **response.headers}
        for part in (
            h11.Response(status_code=response.status, headers=[*headers.items()]),
            h11.Data(data),
            h11.EndOfMessage(),
        ):
            await stream.send_all(connection.send(part) or b"")
        if connection.our_state is h11.MUST_CLOSE:
            return
        connection.start_next_cycle()
