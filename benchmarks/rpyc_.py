"""RPyC: a process per machine that serves one mutual TLS connection."""

from __future__ import annotations

import collections
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks import _certificates
from benchmarks._contestant import Contestant
from benchmarks._service import Bench
from benchmarks.floor import end_with_stdin, launch, read_port

# RPyC refuses to wait longer than 30 s by default, which is no business of a benchmark.
CONFIG = {"sync_request_timeout": None}


class Rpyc(Contestant):
    """Arrays travel as bytes, by value: RPyC would pass anything else as a reference."""

    name = "rpyc"
    title = "RPyC"
    module = "rpyc"
    distributions = ("rpyc",)
    install = "pip install rpyc"
    wire = "brine, mutual TLS 1.3"
    is_sequential = True  # at the far end, which serves a connection in one thread

    def __init__(self) -> None:
        self._machines: list[tuple[subprocess.Popen[bytes], Any]] = []

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
        from rpyc.core.stream import SocketStream
        from rpyc.utils.factory import connect_stream

        context = _certificates.context("client")
        processes = [launch("benchmarks.rpyc_") for _ in range(count)]
        for process, port in [(p, read_port(p)) for p in processes]:
            raw = socket.create_connection(("127.0.0.1", port))
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = SocketStream(context.wrap_socket(raw, server_hostname="localhost"))
            root = connect_stream(stream, config=CONFIG).root
            root.null()
            self._machines.append((process, root))

    def pids(self) -> list[int]:
        return [process.pid for process, _ in self._machines]

    async def null(self) -> None:
        self._machines[0][1].null()

    async def burst(self, seconds: float, *, in_flight: int) -> int:
        import rpyc

        null = rpyc.async_(self._machines[0][1].null)
        pending = collections.deque(null() for _ in range(in_flight))
        calls, end = 0, time.perf_counter() + seconds
        while pending:
            pending.popleft().wait()
            calls += 1
            if time.perf_counter() < end:
                pending.append(null())
        return calls

    async def upload(self, array: Any) -> None:
        self._machines[0][1].take(array.tobytes())

    async def download(self, size_bytes: int) -> int:
        import numpy as np

        return int(np.frombuffer(self._machines[0][1].give(size_bytes), np.uint8).nbytes)

    async def hang(self, machine: int, *, seconds: float) -> None:
        self._machines[machine][1].sleep(seconds)


def serve() -> None:
    """Be a machine: serve one connection until it ends."""
    import rpyc
    from rpyc.core.stream import SocketStream
    from rpyc.utils.factory import connect_stream

    bench = Bench()

    class Service(rpyc.Service):  # type: ignore[misc]
        def exposed_null(self) -> None:
            bench.null()

        def exposed_take(self, content: bytes) -> int:
            import numpy as np

            return bench.take(np.frombuffer(content, np.uint8))

        def exposed_give(self, size_bytes: int) -> Any:
            return bench.give(size_bytes).tobytes()

        def exposed_sleep(self, seconds: float) -> None:
            bench.sleep(seconds)

    end_with_stdin()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    raw, _ = listener.accept()
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = _certificates.context("server").wrap_socket(raw, server_side=True)
    connect_stream(SocketStream(connection), Service, config=CONFIG).serve_all()


if __name__ == "__main__":
    serve()
