"""HTTP in front of the tests' Compute Engine: on loopback, a thread for each connection."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]
"""Status, and what is sent as JSON."""
Respond = Callable[[str, str, Mapping[str, str], bytes], Answer]
"""Answer a request: verb, path with its query, headers by their names in lower case, content."""


@contextlib.contextmanager
def serving(respond: Respond, *, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve while the block runs; give the URL."""
    server = _Server((host, 0), _handler(respond))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="gce", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
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
            status, answer = respond(self.command, self.path, headers, self.rfile.read(length))
            content = json.dumps(answer, indent=1).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_request

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
