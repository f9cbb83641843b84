"""multiprocessing: a forkserver process per machine, and pickles through a Unix socket pair."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks._contestant import Contestant
from benchmarks._service import Bench


class Multiprocessing(Contestant):
    """What the standard library offers: one call at a time per pipe, this computer only."""

    name = "multiprocessing"
    title = "mp"
    module = "multiprocessing"
    wire = "Unix sockets, no TLS"
    is_sequential = True

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._machines: list[tuple[Any, Any]] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self._context.set_forkserver_preload(["benchmarks.mp"])
        await self.grow(1)
        try:
            yield
        finally:
            for process, _ in self._machines:
                process.kill()
                process.join()

    async def grow(self, count: int) -> None:
        made = []
        for _ in range(count):
            here, there = self._context.Pipe()
            process = self._context.Process(target=serve, args=(there,), daemon=True)
            process.start()
            there.close()  # or the death of the machine would never be seen here
            made.append((process, here))
        for _, pipe in made:
            call(pipe, "null")
        self._machines += made

    def pids(self) -> list[int]:
        return [process.pid for process, _ in self._machines]

    async def null(self) -> None:
        call(self._machines[0][1], "null")

    async def burst(self, seconds: float, *, in_flight: int) -> int:
        pipe = self._machines[0][1]
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
        call(self._machines[0][1], "take", array)

    async def download(self, size_bytes: int) -> int:
        return int(call(self._machines[0][1], "give", size_bytes).nbytes)

    async def hang(self, machine: int, *, seconds: float) -> None:
        call(self._machines[machine][1], "sleep", seconds)


def call(pipe: Any, method: str, *args: Any) -> Any:
    """Call a method at the other end of `pipe`."""
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
