"""The HTTP server of the boot program: HTTP/1.1 on mutual TLS 1.3, a thread a connection."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import ssl
import threading
import time
import traceback
from typing import Any, Callable

from .blobs import BlobStore
from .common import CHUNK_BYTES, HANDSHAKE_SECONDS, Configuration, HttpError, Json, describe
from .tls import tls_context

IDLE_SECONDS = 120.0  # of a connection: between two requests, or two parts of one
MAX_CONNECTIONS = 64  # one more ends the oldest, of those without a certificate if there are any
BODY_BYTES = 64 << 20  # of a request that is no blob

Call = Callable[[str, Json], Json]  # calls the method of a name with keyword arguments


class BootServer:
    """Accepts connections, until it hands its listening socket over to the worker.

    ``heard`` is called at every request of the driver. Nobody but the driver may call methods;
    any machine of the session may read blobs.
    """

    def __init__(
        self,
        config: Configuration,
        *,
        blobs: BlobStore,
        heard: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self.session = config.session
        self.blobs = blobs
        self.heard = heard
        self.say = say
        self.call: Call
        self._context = tls_context(config.certificate, config.key, config.authority)
        self.generation = 0  # of certificates; a connection ends with its own
        # The oldest first; and whether its peer has shown a certificate of the session.
        self._open: dict[socket.socket, bool] = {}
        self._thread = threading.local()  # its `sock` is the thread's own connection
        self._start: Json = None
        self.listener = listen(config.listen)

    def serve(self, call: Call, seconds: float = float("inf")) -> Json:
        """Serve until `hand_over`, and return what that was given; or for some seconds."""
        self.call = call
        self.listener.settimeout(0.1)  # to notice `hand_over`
        self._start, deadline = None, time.monotonic() + seconds
        while self._start is None and time.monotonic() < deadline:
            try:
                sock, _ = self.listener.accept()
                # A client that came too late dials again, and reaches the worker.
                if self._start is None:
                    self._admit(sock)
                else:
                    sock.close()
            except (socket.timeout, ssl.SSLError):
                pass
            except OSError:  # no descriptors, most likely
                time.sleep(0.01)
        return self._start

    def use(self, context: ssl.SSLContext) -> None:
        """Serve with another certificate; clients of the old one must connect again."""
        self._context = context
        self._renew()

    def hand_over(self, start: Json) -> None:
        """Stop serving: the worker takes the socket."""
        self._start = start
        self._renew()

    def _renew(self) -> None:
        """Close all connections; this thread's own closes after its reply."""
        self.generation += 1
        for sock in tuple(self._open):
            if sock is not getattr(self._thread, "sock", None):
                shut_down(sock)

    def _admit(self, sock: socket.socket) -> None:
        while len(self._open) >= MAX_CONNECTIONS:
            # Other threads remove theirs meanwhile.
            oldest = min(tuple(self._open), key=lambda sock: self._open.get(sock, False))
            self._open.pop(oldest, None)
            shut_down(oldest)
        sock.settimeout(HANDSHAKE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._open[tls] = False
        threading.Thread(target=self._serve, args=(tls, self.generation), daemon=True).start()

    def _serve(self, tls: ssl.SSLSocket, generation: int) -> None:
        try:
            tls.do_handshake()
            name = self._name_of(tls)
            tls.settimeout(IDLE_SECONDS)
            self._open[tls] = True
            self._thread.sock = tls
            RequestHandler(tls, self, generation, name)
        except OSError:  # includes the errors of ssl
            pass
        except Exception:
            self.say(traceback.format_exc())
        finally:
            self._open.pop(tls, None)
            tls.close()

    def _name_of(self, tls: ssl.SSLSocket) -> str:
        """Return the peer's name within the session; the chain alone says who signed."""
        certificate: Json = tls.getpeercert() or {}
        for kind, value in certificate.get("subjectAltName", ()):
            if kind == "DNS" and value.endswith("." + self.session):
                return str(value[: -len(self.session) - 1])
        raise ssl.SSLError("the peer is of another session")


class RequestHandler(http.server.BaseHTTPRequestHandler):
    """Serves the requests of one connection, while the machine keeps its certificate."""

    protocol_version = "HTTP/1.1"

    def __init__(self, tls: ssl.SSLSocket, owner: BootServer, generation: int, name: str) -> None:
        self._owner = owner
        self._generation = generation
        self._name = name
        super().__init__(tls, ("", 0), None)  # type: ignore[arg-type]

    def do_POST(self) -> None:
        """Call a method: ``/rpc/Boot.NAME``."""
        self._answer(self._call)

    def do_PUT(self) -> None:
        """Receive part of a blob: ``/blobs/SHA256?OFFSET``."""
        self._answer(self._receive)

    def do_GET(self) -> None:
        """Send a blob from an offset on, even while it still comes in."""
        try:
            if self._generation != self._owner.generation:
                self.close_connection = True
                return
            sha256, offset = self._blob()
            size, chunks = self._owner.blobs.send(sha256, offset)
        except HttpError as exc:
            self._reply(exc.status, error_reply(exc))
            return
        self.send_response(200)
        self.send_header("content-length", str(size - offset))
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(chunk)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _answer(self, function: Callable[[], Json]) -> None:
        try:
            self._check_driver()
            self._owner.heard()
            status, reply = 200, function()
        except HttpError as exc:
            status, reply = exc.status, {**error_reply(exc), **exc.details}
            self.close_connection = True  # its body may not have been read
        except OSError as exc:
            self._owner.say(f"{self.command} {self.path}: {exc}")
            status, reply = 507, error_reply(exc, describe(exc))
            self.close_connection = True
        except Exception as exc:
            self._owner.say(traceback.format_exc())
            status, reply = 590, error_reply(exc)
        self._reply(status, reply)
        self._owner.heard()

    def _call(self) -> Json:
        size = int(self.headers.get("content-length", 0))
        if not 0 <= size <= BODY_BYTES:
            raise HttpError(413, f"a request of {size} bytes is too large")
        request = json.loads(self.rfile.read(size) or b"{}")
        return self._owner.call(self.path[len("/rpc/") :], request.get("kwargs", {}))

    def _receive(self) -> Json:
        sha256, offset = self._blob()
        left = int(self.headers.get("content-length", 0))

        def read() -> bytes:
            nonlocal left
            data = self.rfile.read1(min(left, CHUNK_BYTES)) if left else b""
            left -= len(data)
            return data

        self._owner.blobs.receive(sha256, offset, read)
        if left:
            raise OSError("the connection ended before the blob did")
        return {"size": self._owner.blobs.received(sha256)}

    def _blob(self) -> tuple[str, int]:
        found = re.fullmatch(r"/blobs/([0-9a-f]{64})(?:\?(\d+))?", self.path)
        if found is None:
            raise HttpError(404, "blobs are at /blobs/SHA256?OFFSET")
        return found[1], int(found[2] or 0)

    def _check_driver(self) -> None:
        if self._generation != self._owner.generation:
            raise HttpError(421, "this machine has a new certificate: connect again")
        if self._name != "driver":
            raise HttpError(403, "only the session's driver may do that, not " + self._name)

    def _reply(self, status: int, reply: Json) -> None:
        body = json.dumps(reply).encode() + b"\n"
        if self._generation != self._owner.generation:
            self.close_connection = True
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)


def shut_down(sock: socket.socket) -> None:
    """End a connection that another thread serves."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # ssl's own would confuse the other thread


def error_reply(exc: Exception, message: str = "") -> Json:
    """Return what the client gets of an exception."""
    return {"error": type(exc).__name__, "message": message or str(exc)}


def listen(address: str) -> socket.socket:
    """Listen at ``HOST:PORT``."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=128)
