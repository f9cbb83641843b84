"""Many calls at once: `submit` of the sync API, compared with tasks of the trio API.

Of `def` methods and of `async def` methods; 64 at a time, or all at once.

uv run python -m benchmarks.submits             # 20,000 calls, 3 rounds
uv run python -m benchmarks.submits --calls 100000
"""

from __future__ import annotations

import argparse
import collections
import gc
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import as_completed
from functools import partial

import trio

import bigmachine as bm
from benchmarks._processes import unshared_bytes

MAX_TIME = 2.0  # times what the trio API takes
MIN_RATE = 20_000  # calls of a `def` method a second
MAX_BYTES = 4096  # for each pending call
IN_FLIGHT = 64
ROUND_CALLS = 100_000  # of a contestant's round
METHODS = {"def": "Bench.add_in_thread", "async def": "Bench.add"}
WAITING_METHODS = {"def": "Bench.wait_in_thread", "async def": "Bench.wait"}


class Bench:
    """Methods that answer at once, or when the gate is opened."""

    async def setup(self, session: bm.AsyncPeerSession) -> None:
        self.gate = trio.Event()
        self.thread_gate = threading.Event()

    async def add(self, n: int) -> int:
        """Return the next number."""
        return n + 1

    async def wait(self, n: int) -> int:
        """Return the next number, once the gate is open."""
        await self.gate.wait()
        return n + 1

    def add_in_thread(self, n: int) -> int:
        """Return the next number, from a thread."""
        return n + 1

    def wait_in_thread(self, n: int) -> int:
        """Return the next number, once the gate is open, from a thread."""
        self.thread_gate.wait()
        return n + 1

    async def open(self) -> None:
        """Open the gate."""
        self.gate.set()
        self.thread_gate.set()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.submits", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    # First, as later there is freed memory to use again.
    sizes = {kind: pending_bytes(options.calls, method) for kind, method in WAITING_METHODS.items()}
    ways: dict[str, Callable[[], float]] = {}
    for kind, method in METHODS.items():
        ways[f"submit, {kind}"] = partial(time_submits, options.calls, method)
        ways[f"{IN_FLIGHT} at a time, {kind}"] = partial(time_in_flight, options.calls, method)
        ways[f"trio, {kind}"] = partial(time_tasks, options.calls, method)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            times[name].append(way())
    medians = {name: statistics.median(of_way) for name, of_way in times.items()}
    print(f"{options.calls:,} calls of one machine, until the last result")
    is_missed = False
    for name, seconds in medians.items():
        rate = options.calls / seconds
        line = f"{name:24} {seconds / options.calls * 1e6:6.1f} µs each  {rate:8,.0f}/s"
        if name in ("submit, def", f"{IN_FLIGHT} at a time, def"):
            line += f"  (target: at least {MIN_RATE:,})"
            is_missed = is_missed or rate < MIN_RATE
        print(line)
    ratio = medians["submit, async def"] / medians["trio, async def"]
    print(f"submit, async def: {ratio:.2f} x the trio API's time  (target: at most {MAX_TIME:g})")
    for kind, size in sizes.items():
        print(f"a pending call, {kind}: {size:.0f} bytes  (target: at most {MAX_BYTES:g})")
    return int(is_missed or ratio > MAX_TIME or max(sizes.values()) > MAX_BYTES)


def print_values() -> None:
    """Print the values of a contestant's round, as JSON: of `def` methods."""
    size = pending_bytes(ROUND_CALLS // 5, WAITING_METHODS["def"])
    rate = ROUND_CALLS / time_submits(ROUND_CALLS, METHODS["def"])
    print(json.dumps({"pending_kb": size / 1e3, "submits_per_s": rate}))


def time_submits(calls: int, method: str = METHODS["async def"]) -> float:
    """Return how many seconds the calls take by `submit` and ``as_completed``."""
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Bench": Bench()})
        machine.call(method, 1)
        began = time.perf_counter()
        futures = [machine.submit(method, n) for n in range(calls)]
        total = sum(future.result() for future in as_completed(futures))
        seconds = time.perf_counter() - began
    assert total == calls * (calls + 1) // 2
    return seconds


def time_in_flight(calls: int, method: str) -> float:
    """Return how many seconds they take by `submit`, if some are under way at a time."""
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Bench": Bench()})
        machine.call(method, 1)
        began = time.perf_counter()
        pending = collections.deque(machine.submit(method, n) for n in range(IN_FLIGHT))
        total = 0
        for n in range(IN_FLIGHT, calls + IN_FLIGHT):
            total += pending.popleft().result()
            if n < calls:
                pending.append(machine.submit(method, n))
        seconds = time.perf_counter() - began
    assert total == calls * (calls + 1) // 2
    return seconds


def time_tasks(calls: int, method: str = METHODS["async def"]) -> float:
    """Return how many seconds the same takes with a task for each call."""

    async def run() -> float:
        async with bm.AsyncSession("local") as session:
            [machine] = await session.start(1, services={"Bench": Bench()})
            await machine.call(method, 1)
            results: list[int] = []

            async def call(n: int) -> None:
                results.append(await machine.call(method, n))

            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for n in range(calls):
                    nursery.start_soon(call, n)
            seconds = time.perf_counter() - began
            assert sum(results) == calls * (calls + 1) // 2
            return seconds

    return trio.run(run)


def pending_bytes(calls: int, method: str) -> float:
    """Return how much memory of the driver each pending call takes."""
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Bench": Bench()})
        machine.call("Bench.add", 1)
        gc.collect()
        before = unshared_bytes(os.getpid())
        futures = [machine.submit(method, n) for n in range(calls)]
        machine.call("Bench.add", 1)  # by now all are sent
        size = (unshared_bytes(os.getpid()) - before) / calls
        machine.call("Bench.open")
        assert sum(future.result() for future in futures) == calls * (calls + 1) // 2
    return size


if __name__ == "__main__":
    sys.exit(main())
