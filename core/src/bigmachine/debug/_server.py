"""The debug server of a session: who may look, and what there is to see."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import secrets
import sys
from importlib.resources import files

import trio

from ..metrics import OPENMETRICS_TYPE
from ._address import host_and_port, host_in_url, is_loopback, why_not
from ._board import StatusBoard
from ._http import Handler as Route
from ._http import Request, Response, serve_connection
from ._inspected import Inspected
from ._logs import LogPage
from ._machines import MachinePage
from ._profiles import ProfilePages
from ._text import status_text

logger = logging.getLogger("bigmachine.session")

MAX_CONNECTIONS = 100
"""How many connections a debug page serves at once; further ones are closed."""

_PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/debug/bigmachine/pprof/": ("pprof.html", "text/html; charset=utf-8"),
}


async def serve_debug(
    board: StatusBoard,
    addr: str,
    *,
    session: Inspected,
    nursery: trio.Nursery,
    is_fixed: bool = True,
) -> str:
    """Serve the page at ``addr``, ``HOST:PORT``; print its URL and return it.

    Tasks in ``nursery`` serve. Port 0 is any free one, and so is one that is in use, unless it
    ``is_fixed``. Raises `UsageError` if the address can't be used.
    """
    host, port = host_and_port(addr)
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        if is_fixed or error.errno != errno.EADDRINUSE:
            raise why_not(addr, error) from error
        listeners = await trio.open_tcp_listeners(0, host=host)
    port = listeners[0].socket.getsockname()[1]
    server = DebugServer(board, session)
    board.measures.start(nursery)
    nursery.start_soon(
        lambda: trio.serve_listeners(server.serve, listeners), name="bigmachine debug"
    )
    shown = host_in_url(host)
    url = f"http://{shown}:{port}/{server.token}/"
    if not is_loopback(host):
        logger.warning(
            "debug: the token is sent unencrypted; anybody who sees it and reaches %s:%d can look "
            "into this session; 127.0.0.1 keeps it on this computer",
            shown,
            port,
        )
    print(f"bigmachine: a look inside: {url}", file=sys.stderr, flush=True)
    return url


class DebugServer:
    """Answers those who know the token: as the first part of the path, or as a bearer's.

    It is in no cookie: a browser would send that to other servers on this host, at any port.
    Without ``needs_token``, all who can connect are answered.
    """

    def __init__(self, board: StatusBoard, session: Inspected, *, needs_token: bool = True) -> None:
        self.token = secrets.token_urlsafe(24)
        self._needs_token = needs_token
        self._board = board
        self._session = session
        self._connections = 0
        profiles = ProfilePages(session)
        self._routes: dict[str, Route] = {
            **{path: self._page(*page) for path, page in _PAGE.items()},
            "/status.json": self._status_json,
            "/debug/bigmachine/status": self._status_text,
            "/debug/bigmachine/vars": self._vars,
            "/debug/bigmachine/machine": MachinePage(session).info,
            "/debug/bigmachine/logs": LogPage(session).logs,
            "/debug/bigmachine/pprof/profile": profiles.profile,
            "/debug/bigmachine/pprof/heap": profiles.heap,
            "/debug/bigmachine/pprof/threads": profiles.threads,
            "/debug/bigmachine/dump": self._dump,
            "/metrics": self._metrics,
        }

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection; whatever happens to it, the session goes on."""
        if self._connections >= MAX_CONNECTIONS:  # anybody can open them, without the token
            await stream.aclose()
            return
        self._connections += 1
        try:
            await serve_connection(stream, self._answer)
        except Exception:
            logger.exception("debug: a request could not be answered")
        finally:
            self._connections -= 1

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handle(request)
        except Exception:
            logger.exception("debug: %s could not be answered", request.path.rpartition("/")[2])
            return Response(500, b"This can't be shown; the program's log says why.\n")

    async def _handle(self, request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        first, slash, rest = request.path.removeprefix("/").partition("/")
        path = request.path
        if self._is_token(first):
            if not slash:
                return Response(308, headers={"Location": f"/{self.token}/"})
            path = f"/{rest.lstrip('/')}"  # the URL ends in a slash, and paths begin with one
        elif self._needs_token and not self._is_token(_bearer(request)):
            return Response(403, b"This needs the token: open the URL that the program printed.\n")
        route = self._routes.get(path)
        if route is None and f"{path}/" in self._routes:
            return Response(308, headers={"Location": f"{request.path}/"})
        if route is None:
            paths = "".join(f"  {path}\n" for path in self._routes)
            return Response(404, f"There is nothing here. There is:\n{paths}".encode())
        return await route(request)

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.token.encode())

    def _page(self, file: str, content_type: str) -> Route:
        body = files(__package__).joinpath(file).read_bytes()

        async def page(_: Request) -> Response:
            return Response(200, body, content_type)

        return page

    async def _status_json(self, _: Request) -> Response:
        self._board.measures.look()
        return _json(dataclasses.asdict(self._board.status()))

    async def _status_text(self, _: Request) -> Response:
        await self._board.measures.first()
        return Response(200, status_text(self._board.status()).encode())

    async def _vars(self, _: Request) -> Response:
        return _json((await self._session.variables()).to_dict())

    async def _dump(self, _: Request) -> Response:
        from ._dump import dump

        name = f"{self._board.short_name}.tar.gz"
        save = {"Content-Disposition": f'attachment; filename="{name}"'}
        body = await dump(self._board, self._session)
        return Response(200, body, "application/gzip", save)

    async def _metrics(self, request: Request) -> Response:
        text = (await self._session.variables()).openmetrics().encode()
        accepted = request.headers.get("accept", "")
        if "text/html" in accepted and "openmetrics" not in accepted:
            return Response(200, text)  # a browser would save the other type, and show nothing
        return Response(200, text, OPENMETRICS_TYPE)


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _json(data: object) -> Response:
    return Response(200, json.dumps(data).encode(), "application/json")
