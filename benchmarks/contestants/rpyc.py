"""RPyC: a process per machine that serves one mutual TLS connection."""

from __future__ import annotations

from typing import Any

from benchmarks._service import Bench
from benchmarks.contestants._servers import (
    ServerContestant,
    accept_tls,
    connect_tls,
    count_calls,
    end_with_stdin,
)

# By default RPyC waits for at most 30 s; a call of a benchmark may take longer.
CONFIG = {"sync_request_timeout": None}


class Rpyc(ServerContestant):
    """Arrays travel as bytes, by value: RPyC would pass anything else as a reference."""

    name = "rpyc"
    title = "RPyC"
    module = "rpyc"
    distributions = ("rpyc",)
    install = "uv sync --group peers   (or: pip install rpyc)"
    wire = "brine, mutual TLS 1.3"
    is_sequential = True  # on the machine, which serves a connection in one thread

    def connect(self, port: int) -> Any:
        from rpyc.core.stream import SocketStream
        from rpyc.utils.factory import connect_stream

        root = connect_stream(SocketStream(connect_tls(port)), config=CONFIG).root
        root.null()
        return root

    async def null(self) -> None:
        self.machines[0].null()

    async def call_many(self, seconds: float, *, in_flight: int) -> int:
        import rpyc

        null = rpyc.async_(self.machines[0].null)
        return count_calls(null, lambda call: call.wait(), seconds=seconds, in_flight=in_flight)

    async def upload(self, array: Any) -> None:
        self.machines[0].receive(array.tobytes())

    async def download(self, size_bytes: int) -> int:
        import numpy as np

        return int(np.frombuffer(self.machines[0].send(size_bytes), np.uint8).nbytes)

    async def sleep(self, machine: int, *, seconds: float) -> None:
        self.machines[machine].sleep(seconds)


def serve() -> None:
    """Be a machine: serve one connection until it ends."""
    import rpyc
    from rpyc.core.stream import SocketStream
    from rpyc.utils.factory import connect_stream

    bench = Bench()

    class Service(rpyc.Service):  # type: ignore[misc]
        def exposed_null(self) -> None:
            bench.null()

        def exposed_receive(self, content: bytes) -> int:
            import numpy as np

            return bench.receive(np.frombuffer(content, np.uint8))

        def exposed_send(self, size_bytes: int) -> Any:
            return bench.send(size_bytes).tobytes()

        def exposed_sleep(self, seconds: float) -> None:
            bench.sleep(seconds)

    end_with_stdin()
    connect_stream(SocketStream(accept_tls()), Service, config=CONFIG).serve_all()


if __name__ == "__main__":
    serve()
