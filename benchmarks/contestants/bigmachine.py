"""bigmachine: its sync API and its trio API, one local machine per process, mutual TLS 1.3.

Large arrays go by shared memory in the one, as they do on one host, and over the wire in the
other, as they do between hosts.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from benchmarks._contestant import Contestant

WIRE = "frames after an HTTP upgrade, mutual TLS 1.3"
INSTALL = "uv sync   (or: pip install -e core -e plugins/local)"


class Sync(Contestant):
    """`Session("local")`, `def` methods, `call` and `submit`: what most people use."""

    name = "bigmachine-sync"
    title = "bigmachine sync"
    module = "bigmachine"
    distributions = ("bigmachine", "bigmachine-local", "trio", "httpx")
    install = INSTALL
    wire = f"{WIRE}; large arrays by shared memory"
    programs: ClassVar[dict[str, str]] = {
        name: f"from benchmarks.{name} import print_values; print_values()"
        for name in ("submits", "items", "parallel", "state")
    }

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        import bigmachine as bm

        with bm.Session("local") as self._session:
            async with super().open():
                yield

    async def start_more(self, count: int) -> None:
        from benchmarks.contestants._bigmachine_services import Bench

        started = self._session.start(count, services={"Bench": Bench()})
        pids = [machine.submit("Bench.pid") for machine in started]
        self.pids += [pid.result() for pid in pids]
        self.machines += started

    async def null(self) -> None:
        self.machines[0].call("Bench.null")

    async def call_many(self, seconds: float, *, in_flight: int) -> int:
        from benchmarks.contestants._servers import count_calls  # here: for the cold start

        submit = self.machines[0].submit
        return count_calls(
            lambda: submit("Bench.null"),
            lambda call: call.result(),
            seconds=seconds,
            in_flight=in_flight,
        )

    async def upload(self, array: Any) -> None:
        self.machines[0].call("Bench.receive", array)

    async def download(self, size_bytes: int) -> int:
        return int(self.machines[0].call("Bench.send", size_bytes).nbytes)

    async def sleep(self, machine: int, *, seconds: float) -> None:
        self.machines[machine].call("Bench.sleep", seconds)

    async def compute(self, seconds: float) -> None:
        self.machines[0].call("Bench.compute", seconds)


class Trio(Contestant):
    """`AsyncSession("local")`, as a library built on it would use it; all goes over the wire."""

    name = "bigmachine-trio"
    title = "bigmachine trio"
    module = "bigmachine"
    distributions = ("bigmachine", "bigmachine-local", "trio", "httpx")
    install = INSTALL
    wire = WIRE
    programs: ClassVar[dict[str, str]] = {
        "driver_memory": "from benchmarks.contestants._driver_memory import main; main()"
    }

    system: ClassVar[str] = "local"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        import bigmachine as bm

        os.environ["BIGMACHINE_SHARED_MEMORY"] = "0"  # its machines get it, too
        async with bm.AsyncSession(self.system) as self._session, super().open():
            yield

    async def start_more(self, count: int) -> None:
        import trio

        from benchmarks.contestants._bigmachine_services import AsyncBench

        started = await self._session.start(count, services={"Bench": AsyncBench()})
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

    async def compute(self, seconds: float) -> None:
        await self.machines[0].call("Bench.compute", seconds)

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


class Ec2(Trio):
    """The same on EC2 instances, with the options of environment variables and files."""

    name = "ec2"
    title = "bigmachine EC2"
    distributions = ("bigmachine", "bigmachine-ec2", "trio", "httpx")
    install = "uv sync   (or: pip install -e core -e plugins/ec2)"
    programs: ClassVar[dict[str, str]] = {}
    is_local = False
    system = "ec2"
