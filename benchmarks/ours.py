"""bigmachine: its trio face, one local machine per process, mutual TLS 1.3."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from benchmarks import _service
from benchmarks._contestant import Contestant


class Bench(_service.Bench):
    """`async def` runs in the machine's loop; what is inherited, in its threads."""

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
    cold_program = """
import time
import bigmachine as bm
from benchmarks._service import Bench
with bm.Session("local") as session:
    session.start(1, services={"Bench": Bench()})[0].call("Bench.null")
    print(time.monotonic())
"""
    crowd_program = "import trio; from benchmarks._crowd import weigh; trio.run(weigh)"
    wire = "frames after an HTTP upgrade, mutual TLS 1.3"

    system: ClassVar[str] = "local"

    def __init__(self) -> None:
        self._machines: list[Any] = []
        self._pids: list[int] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        import bigmachine as bm

        async with bm.AsyncSession(self.system) as self._session:
            await self.grow(1)
            yield

    async def grow(self, count: int) -> None:
        import trio

        made = await self._session.start(count, services={"Bench": Bench()})
        pids: dict[Any, int] = {}

        async def greet(machine: Any) -> None:
            await machine.call("Bench.null")
            pids[machine] = await machine.call("Bench.pid")

        async with trio.open_nursery() as nursery:
            for machine in made:
                nursery.start_soon(greet, machine)
        self._machines += made
        self._pids += [pids[machine] for machine in made]

    def pids(self) -> list[int]:
        return list(self._pids)

    async def null(self) -> None:
        await self._machines[0].call("Bench.null")

    async def burst(self, seconds: float, *, in_flight: int) -> int:
        return await self._burst("Bench.null", seconds, in_flight=in_flight)

    async def burst_in_threads(self, seconds: float, *, in_flight: int) -> int:
        return await self._burst("Bench.null_in_thread", seconds, in_flight=in_flight)

    async def _burst(self, method: str, seconds: float, *, in_flight: int) -> int:
        import trio

        call = self._machines[0].call
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
        await self._machines[0].call("Bench.take", array)

    async def download(self, size_bytes: int) -> int:
        return int((await self._machines[0].call("Bench.give", size_bytes)).nbytes)

    async def hang(self, machine: int, *, seconds: float) -> None:
        await self._machines[machine].call("Bench.sleep", seconds)

    # -- the runtime is trio -------------------------------------------------

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        import trio

        trio.run(main)

    async def overlap(
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
    """The same on instances of EC2, with the options that variables and files say."""

    name = "ec2"
    title = "bigmachine on EC2"
    distributions = ("bigmachine", "bigmachine-ec2", "trio", "httpx")
    install = "uv sync   (or: pip install -e core -e plugins/ec2)"
    cold_program = ""  # a start of minutes is no cold start of a library
    crowd_program = ""
    is_here = False
    system = "ec2"
