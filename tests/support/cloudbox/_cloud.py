"""What a host hears of the cloud it runs in: files that it boots with, and HTTP answers."""

from __future__ import annotations

import abc
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import trio

if TYPE_CHECKING:
    from tests.support.cloudbox._host import Host


class Cloud(abc.ABC):
    """One host's view of its cloud. Attributes may be set while it runs: it sees that."""

    nspawn_options: tuple[str, ...] = ()

    @abc.abstractmethod
    def files(self, host: Host, /) -> dict[str, bytes]:
        """Return what to lay over the image, by path, without the first slash."""

    @abc.abstractmethod
    async def answer(self, request: Request, host: Host, /) -> Response:
        """Answer what the host asks its metadata service."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a host asked; ``to`` is the address that it asked, and names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    to: str


@dataclass(frozen=True, slots=True)
class Response:
    """What it is told."""

    status: int = 200
    body: str | bytes = ""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, value: Any, *, status: int = 200) -> Response:
        return cls(status, json.dumps(value), {"Content-Type": "application/json"})


def find(tree: Any, path: str) -> Any:
    """Return what is at the path in a tree of dictionaries and lists; `LookupError` if nothing."""
    for step in filter(None, path.split("/")):
        if isinstance(tree, list):
            tree = dict(zip(map(str, range(len(tree))), tree, strict=True))
        if not isinstance(tree, dict):
            raise LookupError(step)
        tree = tree[step]
    return tree


def listing(tree: Any) -> str:
    """Write what is in a tree as the text services do: a name each line, folders with a slash."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return "\n".join(f"{name}/" if isinstance(at, dict | list) else str(name) for name, at in items)


async def serve(
    listeners: list[trio.SocketListener],
    answer: Callable[[Request, str], Awaitable[Response]],
) -> None:
    """Answer requests over HTTP, each with the address that it comes from, until cancelled."""

    async def attend(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, h11.RemoteProtocolError):
            await _attend(stream, answer)

    await trio.serve_listeners(attend, listeners)


async def _attend(
    stream: trio.SocketStream, answer: Callable[[Request, str], Awaitable[Response]]
) -> None:
    asker, to = stream.socket.getpeername()[0], stream.socket.getsockname()[0]
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
        response = await answer(request, asker)
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
