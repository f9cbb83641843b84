"""grpcio: a server process per machine, mutual TLS, bytes both ways (no protobuf to pay for)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import _certificates
from benchmarks._service import Bench
from benchmarks.contestants._servers import ServerContestant, count_calls, end_with_stdin

# gRPC refuses messages of more than 4 MiB unless told otherwise.
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
SERVER_THREADS = 8


class Grpc(ServerContestant):
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

    def connect(self, port: int) -> dict[str, Any]:
        import grpc

        credentials = grpc.ssl_channel_credentials(
            _certificates.path("ca.pem").read_bytes(),
            _certificates.path("client.key").read_bytes(),
            _certificates.path("client.pem").read_bytes(),
        )
        channel = grpc.secure_channel(f"localhost:{port}", credentials, OPTIONS)
        methods = {name: channel.unary_unary(f"/Bench/{name}") for name in METHODS}
        methods["null"](b"", wait_for_ready=True)
        return methods

    async def null(self) -> None:
        self.machines[0]["null"](b"")

    async def call_many(self, seconds: float, *, in_flight: int) -> int:
        null = self.machines[0]["null"].future
        return count_calls(
            lambda: null(b""), lambda call: call.result(), seconds=seconds, in_flight=in_flight
        )

    async def upload(self, array: Any) -> None:
        self.machines[0]["receive"](array.tobytes())

    async def download(self, size_bytes: int) -> int:
        import numpy as np

        answer = self.machines[0]["send"](str(size_bytes).encode())
        return int(np.frombuffer(answer, np.uint8).nbytes)

    async def sleep(self, machine: int, *, seconds: float) -> None:
        self.machines[machine]["sleep"](str(seconds).encode())

    async def compute(self, seconds: float) -> None:
        self.machines[0]["compute"](str(seconds).encode())


def receive(bench: Bench, request: bytes) -> bytes:
    import numpy as np

    return str(bench.receive(np.frombuffer(request, np.uint8))).encode()


def send(bench: Bench, request: bytes) -> bytes:
    answer: bytes = bench.send(int(request)).tobytes()
    return answer


def sleep(bench: Bench, request: bytes) -> bytes:
    bench.sleep(float(request))
    return b""


def compute(bench: Bench, request: bytes) -> bytes:
    bench.compute(float(request))
    return b""


METHODS: dict[str, Callable[[Bench, bytes], bytes]] = {
    "null": lambda bench, request: b"",
    "receive": receive,
    "send": send,
    "sleep": sleep,
    "compute": compute,
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
