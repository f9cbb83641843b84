"""HTTP in front of an emulated cloud: on loopback, a thread for each connection."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any, Mapping[str, str]]
"""Status, what is sent as JSON (bytes as they are, None not at all), and further headers."""
Respond = Callable[[str, str, Mapping[str, str], bytes], Answer]
"""Answer a request: verb, path with its query, headers by their names in lower case, content.

`ConnectionError` closes the connection without an answer.
"""


@contextlib.contextmanager
def serving(
    respond: Respond, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serve while the block runs, by HTTPS where there is a ``tls``; give the URL."""
    server = _Server((host, 0), _handler(respond))
    if tls is not None:
        # The handshake comes with the first read, in the connection's own thread.
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    serve = server.serve_forever
    thread = threading.Thread(target=serve, args=(0.02,), name="emulation", daemon=True)
    thread.start()
    try:
        scheme = "http" if tls is None else "https"
        yield f"{scheme}://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


def _handler(respond: Respond) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # the head and the content leave in one segment
        disable_nagle_algorithm = True

        def handle_request(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            given = self.rfile.read(length)
            try:
                status, answer, more = respond(self.command, self.path, headers, given)
            except ConnectionError:
                self.close_connection = True
                return
            is_plain = isinstance(answer, bytes)
            content = answer if is_plain else json.dumps(answer, indent=1).encode()
            content = b"" if answer is None else content
            self.send_response(status)
            if content:
                kind = "application/octet-stream" if is_plain else "application/json; charset=UTF-8"
                self.send_header("Content-Type", kind)
            if content or status != 204:  # which has no content, by definition
                self.send_header("Content-Length", str(len(content)))
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_request

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
