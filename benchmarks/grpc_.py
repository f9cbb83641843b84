"""grpcio: a server process per machine, mutual TLS, bytes both ways (no protobuf to pay for)."""

from __future__ import annotations

import collections
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from benchmarks import _certificates
from benchmarks._contestant import Contestant
from benchmarks._service import Bench
from benchmarks.floor import end_with_stdin, launch, read_port

# gRPC refuses messages of more than 4 MiB unless told otherwise.
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
SERVER_THREADS = 8


class Grpc(Contestant):
    """The blocking API at both ends.

    Of the four combinations with `grpc.aio` it answered the most calls/s (5k,
    the others 3-4.7k), and its null call was as short within the noise.
    """

    name = "grpc"
    title = "gRPC"
    module = "grpc"
    distributions = ("grpcio",)
    install = "uv sync --group peers   (or: pip install grpcio)"
    wire = "HTTP/2, mutual TLS 1.3"

    def __init__(self) -> None:
        self._machines: list[tuple[subprocess.Popen[bytes], dict[str, Any]]] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        await self.grow(1)
        try:
            yield
        finally:
            for process, _ in self._machines:
                process.kill()
                process.wait()

    async def grow(self, count: int) -> None:
        import grpc

        credentials = grpc.ssl_channel_credentials(
            _certificates.path("ca.pem").read_bytes(),
            _certificates.path("client.key").read_bytes(),
            _certificates.path("client.pem").read_bytes(),
        )
        processes = [launch("benchmarks.grpc_") for _ in range(count)]
        for process, port in [(p, read_port(p)) for p in processes]:
            channel = grpc.secure_channel(f"localhost:{port}", credentials, OPTIONS)
            methods = {name: channel.unary_unary(f"/Bench/{name}") for name in METHODS}
            methods["null"](b"", wait_for_ready=True)
            self._machines.append((process, methods))

    def pids(self) -> list[int]:
        return [process.pid for process, _ in self._machines]

    async def null(self) -> None:
        self._machines[0][1]["null"](b"")

    async def burst(self, seconds: float, *, in_flight: int) -> int:
        null = self._machines[0][1]["null"]
        pending = collections.deque(null.future(b"") for _ in range(in_flight))
        calls, end = 0, time.perf_counter() + seconds
        while pending:
            pending.popleft().result()
            calls += 1
            if time.perf_counter() < end:
                pending.append(null.future(b""))
        return calls

    async def upload(self, array: Any) -> None:
        self._machines[0][1]["take"](array.tobytes())

    async def download(self, size_bytes: int) -> int:
        import numpy as np

        answer = self._machines[0][1]["give"](str(size_bytes).encode())
        return int(np.frombuffer(answer, np.uint8).nbytes)

    async def hang(self, machine: int, *, seconds: float) -> None:
        self._machines[machine][1]["sleep"](str(seconds).encode())


def take(bench: Bench, request: bytes) -> bytes:
    import numpy as np

    return str(bench.take(np.frombuffer(request, np.uint8))).encode()


def give(bench: Bench, request: bytes) -> bytes:
    answer: bytes = bench.give(int(request)).tobytes()
    return answer


def sleep(bench: Bench, request: bytes) -> bytes:
    bench.sleep(float(request))
    return b""


METHODS: dict[str, Callable[[Bench, bytes], bytes]] = {
    "null": lambda bench, request: b"",
    "take": take,
    "give": give,
    "sleep": sleep,
}


def serve() -> None:
    """Be a machine."""
    import grpc

    bench = Bench()

    def handler(method: Callable[[Bench, bytes], bytes]) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda request, _: method(bench, request))

    end_with_stdin()
    server = grpc.server(ThreadPoolExecutor(SERVER_THREADS), options=OPTIONS)
    handlers = {name: handler(method) for name, method in METHODS.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Bench", handlers),))
    key, certificate, ca = (
        _certificates.path(name).read_bytes() for name in ("server.key", "server.pem", "ca.pem")
    )
    credentials = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    serve()
