"""multiprocessing: a forkserver process per machine, and pickles through a Unix socket pair."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks._contestant import Contestant
from benchmarks._service import Bench


class Forkserver(Contestant):
    """What the standard library offers: one call at a time per pipe, this computer only."""

    name = "forkserver"
    title = "mp forkserver"
    module = "multiprocessing"
    wire = "Unix sockets, no TLS"
    is_sequential = True

    def __init__(self) -> None:
        super().__init__()
        self._context = multiprocessing.get_context("forkserver")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self._context.set_forkserver_preload([__name__])
        async with super().open():
            yield

    async def start_more(self, count: int) -> None:
        pipes = []
        for _ in range(count):
            pipe, far_end = self._context.Pipe()
            process = self._context.Process(target=serve, args=(far_end,), daemon=True)
            process.start()
            assert process.pid is not None
            self.pids.append(process.pid)
            far_end.close()  # or the driver would never see that the machine died
            pipes.append(pipe)
        for pipe in pipes:
            call(pipe, "null")
        self.machines += pipes

    async def null(self) -> None:
        call(self.machines[0], "null")

    async def call_many(self, seconds: float, *, in_flight: int) -> int:
        pipe = self.machines[0]
        for _ in range(in_flight):
            pipe.send(("null", ()))
        calls, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            pipe.recv()
            pipe.send(("null", ()))
            calls += 1
        for _ in range(in_flight):
            pipe.recv()
        return calls + in_flight

    async def upload(self, array: Any) -> None:
        call(self.machines[0], "receive", array)

    async def download(self, size_bytes: int) -> int:
        return int(call(self.machines[0], "send", size_bytes).nbytes)

    async def sleep(self, machine: int, *, seconds: float) -> None:
        call(self.machines[machine], "sleep", seconds)


def call(pipe: Any, method: str, *args: Any) -> Any:
    """Call a method of the machine at the other end of `pipe`."""
    pipe.send((method, args))
    return pipe.recv()


def serve(pipe: Any) -> None:
    """Be a machine: answer until the pipe ends."""
    bench = Bench()
    while True:
        try:
            method, args = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        pipe.send(getattr(bench, method)(*args))
