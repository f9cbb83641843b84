"""The machine's server: HTTP/1.1 on mutually authenticated TLS, with an upgrade to frames.

``GET /rpc`` with ``Upgrade: bigmachine/1`` gives the connection over to frames.
``POST /rpc/Service.method`` is the plain way, for curl and for HTTP clients that can't
upgrade: a pickled ``(args, kwargs)``, or JSON ``{"args": […], "kwargs": {…}}``, answered
in kind. Status 590 means that the method raised.

Nothing a peer sends is parsed as more than HTTP until its certificate is verified.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import pickle
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import h11
import trio

from ..._identity import Identity
from ...errors import ProtocolError, UsageError
from .._channel import Channel, StreamChannel, TlsChannel
from .._exceptions import dump_exception
from .._frames import DEFAULT_LIMIT_BYTES, PROTOCOL
from .._payload import Refused, dumps, dumps_whole
from .._protocol import LIMIT_HEADER, STATUS_RAISED
from .._tasks import TaskPool, ThreadPool
from ._connection import ServingConnection
from ._registry import Services

logger = logging.getLogger("bigmachine.rpc")


_HANDSHAKE_TIMEOUT = 30.0
_PICKLE = "application/x-pickle"
_JSON = "application/json"


class Server:
    """Serves the service objects of one machine to the members of its session.

    With no ``identity`` the listeners' streams must be secure already, as in-memory
    ones are. ``maxprocs`` bounds the threads that run ``def`` methods.
    """

    def __init__(
        self,
        services: Services,
        *,
        identity: Identity | None,
        maxprocs: int,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
    ) -> None:
        self.services = services
        self._identity = identity
        self._context = identity.server_context() if identity is not None else None
        self._maxprocs = maxprocs
        self._limit_bytes = limit_bytes
        self._connections: set[ServingConnection] = set()

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[Any]],
        *,
        task_status: trio.TaskStatus[list[Any]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and serve until cancelled."""
        self._threads = ThreadPool(self._maxprocs)
        try:
            async with trio.open_nursery() as nursery:
                self._tasks = TaskPool(nursery)
                await trio.serve_listeners(
                    self._serve_stream,
                    list(listeners),
                    handler_nursery=nursery,
                    task_status=task_status,
                )
        finally:
            self._threads.close()  # after the connections, whose generators end in threads
            self.services.close()

    async def _serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection; whatever goes wrong with it stays here."""
        try:
            async with stream:
                channel = await self._secure(stream)
                try:
                    await _HttpConnection(self, channel).run()
                finally:
                    channel.close()
        except (
            ssl.SSLError,
            OSError,
            trio.BrokenResourceError,
            ProtocolError,
            h11.RemoteProtocolError,
        ) as exc:
            logger.debug("a connection was refused or broke: %s", exc)
        except trio.TooSlowError:
            logger.debug("a connection did not finish its TLS handshake")
        except Exception:
            logger.exception("a connection failed")

    async def _secure(self, stream: trio.abc.Stream) -> Channel:
        if self._context is None or self._identity is None:
            return StreamChannel(stream)
        with trio.fail_after(_HANDSHAKE_TIMEOUT):
            if isinstance(stream, trio.SocketStream):
                sock = socket.socket(fileno=stream.socket.detach())
                channel = TlsChannel(sock, self._context, server_side=True)
                try:
                    await channel.handshake()
                    self._identity.check_peer(channel.ssl_object.getpeercert())
                except BaseException:
                    channel.close()
                    raise
                return channel
            tls = trio.SSLStream(stream, self._context, server_side=True, https_compatible=True)
            await tls.do_handshake()
            self._identity.check_peer(tls.getpeercert())
            return StreamChannel(tls)

    async def serve_frames(self, channel: Channel, leading: bytes) -> None:
        """Serve the calls of a connection that was upgraded."""
        connection = ServingConnection(
            channel,
            services=self.services,
            tasks=self._tasks,
            threads=self._threads,
            limit_bytes=self._limit_bytes,
            leading=leading,
        )
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def flush(self, timeout: float) -> None:
        """Send the replies that are due so far, in at most ``timeout`` seconds for all."""
        with trio.move_on_after(timeout):
            async with trio.open_nursery() as nursery:
                for connection in self._connections:
                    nursery.start_soon(connection.flushed)

    @property
    def limit_bytes(self) -> int:
        """The largest message accepted."""
        return self._limit_bytes

    async def call(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Call a method for a POST; a generator's result is an iterator of either kind."""
        try:
            method = self.services.find(name)
        except UsageError as exc:
            raise Refused(exc) from None
        if not method.is_async:
            outcome: list[Any] = []
            done = trio.Event()
            function: Callable[[], Any] = functools.partial(method.function, *args, **kwargs)
            cancel: Callable[[], None] = _nothing
            if method.processes is not None:
                in_process = method.processes.call(name, dumps((args, kwargs)))
                function, cancel = in_process.result, in_process.cancel

            def run() -> Any:
                try:
                    outcome.append((function(), None))
                except BaseException as exc:
                    outcome.append((None, exc))
                return done.set

            job = self._threads.start(run)
            try:
                await done.wait()
            except trio.Cancelled:
                job.cancel()
                cancel()
                raise
            result, error = outcome[0]
            if error is not None:
                raise error
            return result
        result = method.function(*args, **kwargs)
        return result if isinstance(result, AsyncIterator) else await result


class _HttpConnection:
    """One HTTP/1.1 connection: request after request, until an upgrade or the end."""

    def __init__(self, server: Server, channel: Channel) -> None:
        self._server = server
        self._channel = channel
        self._http = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        while True:
            try:
                event = await self._next_event()
                if not isinstance(event, h11.Request):
                    return
                if await self._respond(event):
                    return
            except h11.RemoteProtocolError:
                await self._send(400, b"not a valid request\n")
                return
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _respond(self, request: h11.Request) -> bool:
        """Answer one request; True when the connection became a frame connection."""
        path = request.target.decode("ascii", "replace").partition("?")[0]
        headers = dict(request.headers)
        if path == "/rpc" and request.method == b"GET":
            if headers.get(b"upgrade", b"").decode("latin-1") == PROTOCOL:
                await self._upgrade()
                return True
            await self._send(426, f"this is {PROTOCOL}\n".encode(), {"upgrade": PROTOCOL})
        elif path.startswith("/rpc/") and request.method == b"POST":
            await self._post(path.removeprefix("/rpc/"), headers)
        else:
            await self._send(404, b"bigmachine: POST /rpc/Service.method, or upgrade at /rpc\n")
        return False

    async def _upgrade(self) -> None:
        while not isinstance(await self._next_event(), (h11.EndOfMessage, type(h11.PAUSED))):
            pass
        response = self._http.send(
            h11.InformationalResponse(
                status_code=101,
                headers=[
                    ("connection", "upgrade"),
                    ("upgrade", PROTOCOL),
                    (LIMIT_HEADER, str(self._server.limit_bytes)),
                ],
            )
        )
        await self._channel.send_all(response)
        leading, _ = self._http.trailing_data
        await self._server.serve_frames(self._channel, bytes(leading))

    async def _post(self, name: str, headers: dict[bytes, bytes]) -> None:
        is_json = headers.get(b"content-type", b"").startswith(_JSON.encode())
        try:
            body = await self._body(headers)
            args, kwargs = _parse(body, is_json=is_json)
        except UsageError as exc:
            await self._send_error(400, Refused(exc), is_json=is_json)
            return
        try:
            result = await self._server.call(name, args, kwargs)
            if hasattr(result, "__anext__") or hasattr(result, "__next__"):
                raise Refused(
                    UsageError(f"{name} is a generator: it streams over an upgraded connection")
                )
            content = _render(name, result, is_json=is_json)
        except trio.Cancelled:
            raise
        except BaseException as exc:  # SystemExit too: it is the method's, not the machine's
            await self._send_error(STATUS_RAISED, exc, is_json=is_json)
        else:
            kind = _JSON if is_json else _PICKLE
            await self._send(200, content, {"content-type": kind})

    async def _body(self, headers: dict[bytes, bytes]) -> bytes:
        limit = self._server.limit_bytes
        # h11 has checked that it is a number.
        if int(headers.get(b"content-length", b"0")) > limit:
            raise UsageError(f"the request is larger than {limit} bytes")
        parts: list[bytes] = []
        size = 0
        while isinstance(event := await self._next_event(), h11.Data):
            parts.append(bytes(event.data))
            size += len(event.data)
            if size > limit:
                raise UsageError(f"the request is larger than {limit} bytes")
        return b"".join(parts)

    async def _send_error(self, status: int, exc: BaseException, *, is_json: bool) -> None:
        if is_json:
            error = exc.error if isinstance(exc, Refused) else exc
            story = {"error": type(error).__qualname__, "message": str(exc)}
            await self._send(status, json.dumps(story).encode() + b"\n", {"content-type": _JSON})
        else:
            content = b"".join(dump_exception(exc).chunks)
            await self._send(status, content, {"content-type": _PICKLE})

    async def _send(
        self, status: int, content: bytes, headers: dict[str, str] | None = None
    ) -> None:
        lines = [*(headers or {}).items(), ("content-length", str(len(content)))]
        if self._http.their_state is h11.SEND_BODY and not isinstance(
            self._http.next_event(), h11.EndOfMessage
        ):
            lines.append(("connection", "close"))  # rather than read a body nobody wants
        with contextlib.suppress(h11.LocalProtocolError):  # the peer is past answering
            head = self._http.send(h11.Response(status_code=status, headers=lines))
            data = self._http.send(h11.Data(data=content))
            end = self._http.send(h11.EndOfMessage())
            await self._channel.send_all(*(part for part in (head, data, end) if part))

    async def _next_event(self) -> Any:  # h11's events have no common base but object
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                go = h11.InformationalResponse(status_code=100, headers=[])
                await self._channel.send_all(self._http.send(go))
            self._http.receive_data(await self._channel.receive_some(64 << 10))


async def open_listeners(address: str) -> list[trio.SocketListener]:
    """Open listeners at ``HOST:PORT``, or take over the listening socket ``fd:N``."""
    if address.startswith("fd:"):
        sock = socket.socket(fileno=int(address.removeprefix("fd:")))
        return [trio.SocketListener(trio.socket.from_stdlib_socket(sock))]
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise UsageError(f"a machine listens at HOST:PORT or fd:N, not at {address!r}")
    try:
        return await trio.open_tcp_listeners(int(port), host=host.strip("[]") or None)
    except OSError as exc:
        raise UsageError(
            f"can't listen at {address}: {exc.strerror or exc}; is another program there?"
        ) from exc


def _parse(body: bytes, *, is_json: bool) -> tuple[Sequence[Any], dict[str, Any]]:
    try:
        if is_json:
            call = json.loads(body or b"{}")
            return list(call.get("args", ())), dict(call.get("kwargs", {}))
        args, kwargs = pickle.loads(body)
        return args, kwargs
    except Exception as exc:
        raise UsageError(f"the request's arguments can't be read: {exc}") from exc


def _render(name: str, result: object, *, is_json: bool) -> bytes:
    try:
        return json.dumps(result).encode() + b"\n" if is_json else dumps_whole(result)
    except Exception as exc:
        kind, way = type(result).__name__, "sent as JSON" if is_json else "pickled"
        error = UsageError(f"{name} returned a {kind}, which can't be {way} ({exc})")
        raise Refused(error) from exc


def _nothing() -> None:
    pass
