"""Many calls at once: `submit` of the sync API, compared with tasks of the trio API.

uv run python -m benchmarks.submits             # 20,000 calls, 3 rounds
uv run python -m benchmarks.submits --calls 100000
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
from concurrent.futures import as_completed

import trio

import bigmachine as bm
from benchmarks._processes import unshared_bytes

MAX_TIME = 2.0  # times what the trio API takes
MAX_BYTES = 4096  # for each pending call


class Bench:
    """Methods that answer at once, or when the gate is opened."""

    async def setup(self, session: bm.AsyncPeerSession) -> None:
        self.gate = trio.Event()

    async def add(self, n: int) -> int:
        """Return the next number."""
        return n + 1

    async def wait(self, n: int) -> int:
        """Return the next number, once the gate is open."""
        await self.gate.wait()
        return n + 1

    async def open(self) -> None:
        """Open the gate."""
        self.gate.set()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.submits", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    size = pending_bytes(options.calls)  # first, as later there is freed memory to use again
    submits, tasks = [], []
    for _ in range(options.rounds):
        submits.append(time_submits(options.calls))
        tasks.append(time_tasks(options.calls))
    submit, task = statistics.median(submits), statistics.median(tasks)
    print(f"{options.calls:,} calls of one machine, until the last result")
    for name, seconds in (("submit", submit), ("trio", task)):
        rate = options.calls / seconds
        print(f"{name:7} {seconds / options.calls * 1e6:6.1f} µs each  {rate:8,.0f}/s")
    print(f"time    {submit / task:6.2f} x  (target: at most {MAX_TIME:g})")
    print(f"memory  {size:6.0f} bytes for each pending call  (target: at most {MAX_BYTES:g})")
    return int(submit > MAX_TIME * task or size > MAX_BYTES)


def time_submits(calls: int) -> float:
    """Return how many seconds the calls take by `submit` and ``as_completed``."""
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Bench": Bench()})
        machine.call("Bench.add", 1)
        began = time.perf_counter()
        futures = [machine.submit("Bench.add", n) for n in range(calls)]
        total = sum(future.result() for future in as_completed(futures))
        seconds = time.perf_counter() - began
    assert total == calls * (calls + 1) // 2
    return seconds


def time_tasks(calls: int) -> float:
    """Return how many seconds the same takes with a task for each call."""

    async def run() -> float:
        async with bm.AsyncSession("local") as session:
            [machine] = await session.start(1, services={"Bench": Bench()})
            await machine.call("Bench.add", 1)
            results: list[int] = []

            async def call(n: int) -> None:
                results.append(await machine.call("Bench.add", n))

            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for n in range(calls):
                    nursery.start_soon(call, n)
            seconds = time.perf_counter() - began
            assert sum(results) == calls * (calls + 1) // 2
            return seconds

    return trio.run(run)


def pending_bytes(calls: int) -> float:
    """Return how much memory of the driver each pending call takes."""
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Bench": Bench()})
        machine.call("Bench.add", 1)
        gc.collect()
        before = unshared_bytes(os.getpid())
        futures = [machine.submit("Bench.wait", n) for n in range(calls)]
        machine.call("Bench.add", 1)  # by now all are sent
        size = (unshared_bytes(os.getpid()) - before) / calls
        machine.call("Bench.open")
        assert sum(future.result() for future in futures) == calls * (calls + 1) // 2
    return size


if __name__ == "__main__":
    sys.exit(main())
