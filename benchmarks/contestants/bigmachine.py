"""bigmachine: its trio API, one local machine per process, mutual TLS 1.3."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from benchmarks import _service
from benchmarks._contestant import Contestant


class Bench(_service.Bench):
    """`async def` methods run in the machine's loop, inherited `def` methods in its threads."""

    async def null(self) -> None:  # type: ignore[override]
        """Do nothing, in the loop."""

    def null_in_thread(self) -> None:
        """Do nothing, in a thread."""


class Bigmachine(Contestant):
    """`AsyncSession("local")`, as a library built on it would use it."""

    name = "bigmachine"
    title = "bigmachine"
    module = "bigmachine"
    distributions = ("bigmachine", "bigmachine-local", "trio", "httpx")
    install = "uv sync   (or: pip install -e core -e plugins/local)"
    cold_start_program = """
import time
import bigmachine as bm
from benchmarks._service import Bench
with bm.Session("local") as session:
    session.start(1, services={"Bench": Bench()})[0].call("Bench.null")
    print(time.monotonic())
"""
    driver_memory_program = "from benchmarks.contestants._driver_memory import main; main()"
    wire = "frames after an HTTP upgrade, mutual TLS 1.3"

    system: ClassVar[str] = "local"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        import bigmachine as bm

        async with bm.AsyncSession(self.system) as self._session, super().open():
            yield

    async def start_more(self, count: int) -> None:
        import trio

        started = await self._session.start(count, services={"Bench": Bench()})
        pids: dict[Any, int] = {}

        async def first_calls(machine: Any) -> None:
            await machine.call("Bench.null")
            pids[machine] = await machine.call("Bench.pid")

        async with trio.open_nursery() as nursery:
            for machine in started:
                nursery.start_soon(first_calls, machine)
        self.machines += started
        self.pids += [pids[machine] for machine in started]

    async def null(self) -> None:
        await self.machines[0].call("Bench.null")

    async def call_many(self, seconds: float, *, in_flight: int) -> int:
        return await self._count_calls("Bench.null", seconds, in_flight=in_flight)

    async def call_many_in_threads(self, seconds: float, *, in_flight: int) -> int:
        return await self._count_calls("Bench.null_in_thread", seconds, in_flight=in_flight)

    async def _count_calls(self, method: str, seconds: float, *, in_flight: int) -> int:
        import trio

        call = self.machines[0].call
        calls, end = 0, time.perf_counter() + seconds

        async def caller() -> None:
            nonlocal calls
            while time.perf_counter() < end:
                await call(method)
                calls += 1

        async with trio.open_nursery() as nursery:
            for _ in range(in_flight):
                nursery.start_soon(caller)
        return calls

    async def upload(self, array: Any) -> None:
        await self.machines[0].call("Bench.receive", array)

    async def download(self, size_bytes: int) -> int:
        return int((await self.machines[0].call("Bench.send", size_bytes)).nbytes)

    async def sleep(self, machine: int, *, seconds: float) -> None:
        await self.machines[machine].call("Bench.sleep", seconds)

    # -- the runtime is trio -------------------------------------------------

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        import trio

        trio.run(main)

    async def run_both(
        self,
        background: Callable[[], Awaitable[None]],
        foreground: Callable[[], Awaitable[None]],
    ) -> None:
        import trio

        async with trio.open_nursery() as nursery:
            nursery.start_soon(background)
            await foreground()

    async def pause(self, seconds: float) -> None:
        import trio

        await trio.sleep(seconds)


class Ec2(Bigmachine):
    """The same on EC2 instances, with the options of environment variables and files."""

    name = "ec2"
    title = "bigmachine on EC2"
    distributions = ("bigmachine", "bigmachine-ec2", "trio", "httpx")
    install = "uv sync   (or: pip install -e core -e plugins/ec2)"
    cold_start_program = ""  # a VM takes minutes to boot: that says nothing of the library
    driver_memory_program = ""
    is_local = False
    system = "ec2"
