"""One driver with many machines: what each costs it, and what 10,000 would.

uv run python -m benchmarks.many                  # 1,000 machines, 2 minutes
uv run python -m benchmarks.many --machines 3000

First the driver alone, with machines that are tasks of one other process; then driver and machines
in one process, in memory, which run bigpi. Times are processor time: they say what a core can do.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

import bigmachine as bm
from benchmarks._processes import unshared_bytes
from benchmarks.contestants._driver_memory import TaskSystem, raise_file_limit
from bigmachine.testing import InProcessSystem
from examples.bigpi import CirclePI, Estimate, estimate

MAX_BYTES = 100_000  # of the driver, for each of 1,000 machines
MAX_KEEPALIVES = 0.05  # of a core, for 1,000 in-memory machines
PERIOD = 5.0  # between two keepalives while they are measured
DEFAULT_PERIOD = bm.Keepalive().period
WARM_UP_MACHINES = 20  # before those that count: caches, pools, lazy imports
MODEL_MACHINES = 10_000


class Bench(CirclePI):
    """The service of each machine."""

    async def null(self) -> None:
        """Return at once."""


class ManySystem(TaskSystem):
    """Machines in one other process, which are often asked for a sign of life."""

    boot_timeout = 600.0  # for thousands that share a core

    def keepalive(self) -> bm.Keepalive:
        return bm.Keepalive(period=PERIOD)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__)
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--part", choices=["driver", "both"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    n: int = options.machines
    if options.part is not None:
        raise_file_limit()
        system: Any = ManySystem if options.part == "driver" else InProcessSystem
        print(json.dumps(trio.run(measure, system, n)), flush=True)
        os._exit(0)
    driver, both = _part("driver", n), _part("both", n)
    print(f"{n:,} machines, each                    driver alone   with the machine, in memory")
    for name, unit in UNITS.items():
        print(f"{name:34} {driver[name]:12,.1f}   {both[name]:12,.1f} {unit}")
    pi = bigpi(n)
    print(f"bigpi on {n:,} in-memory machines: {pi}, {pi.seconds:.1f} s")
    keepalives = both["keepalive, processor time"] / 1e6 * n / DEFAULT_PERIOD
    print(f"their keepalives, every {DEFAULT_PERIOD:g} s: {keepalives:.1%} of a core", end="")
    print(f"  (target: at most {MAX_KEEPALIVES:.0%} for 1,000)")
    print(f"\na driver of {MODEL_MACHINES:,} machines, by the first column")
    for line in model(driver, MODEL_MACHINES):
        print(f"  {line}")
    return int(driver["memory"] * 1e3 > MAX_BYTES or keepalives > MAX_KEEPALIVES * n / 1000)


UNITS = {
    "start, processor time": "ms",
    "descriptors": "",
    "memory": "kB",
    "objects of the garbage collector": "",
    "a full collection": "µs",
    "call, all at once, processor time": "µs",
    "keepalive, processor time": "µs",
    "shutdown, processor time": "ms",
}


def model(each: dict[str, float], n: int) -> list[str]:
    """Say what a driver does with ``n`` machines, if ``each`` takes as much as measured."""
    keepalives = each["keepalive, processor time"] / 1e6 / DEFAULT_PERIOD
    return [
        f"open files   {each['descriptors'] * n:12,.0f}",
        f"memory       {each['memory'] * n / 1e6:12,.2f} GB",
        f"start        {each['start, processor time'] * n / 1e3:12,.0f} s",
        f"keepalives   {keepalives * n:12.1%} of a core, every {DEFAULT_PERIOD:g} s",
        f"collections  {each['a full collection'] * n / 1e6:12.1f} s each",
        f"a call each  {each['call, all at once, processor time'] * n / 1e6:12.1f} s",
        f"shutdown     {each['shutdown, processor time'] * n / 1e3:12,.0f} s",
    ]


async def measure(system: type[bm.System], n: int) -> dict[str, float]:
    """Return what each of ``n`` machines takes of this process, by the names in `UNITS`."""
    options = {"keepalive_period": PERIOD} if system is InProcessSystem else {}
    values: dict[str, float] = {}

    async def time_of(name: str, function: Callable[[], Awaitable[Any]]) -> Any:
        began = time.process_time()
        result = await function()
        values[name] = (time.process_time() - began) / n * (1e3 if UNITS[name] == "ms" else 1e6)
        return result

    session = bm.AsyncSession(system, **options)
    async with session:
        services = {"Bench": Bench()}
        await session.start(WARM_UP_MACHINES, services=services)
        gc.collect()
        objects, files = len(gc.get_objects()), len(os.listdir("/dev/fd"))
        memory = unshared_bytes(os.getpid())
        machines: list[bm.AsyncMachine] = await time_of(
            "start, processor time", lambda: session.start(n, services=services)
        )
        assert len(machines) == n
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what malloc keeps free varies by up to 57 kB
        values["memory"] = (unshared_bytes(os.getpid()) - memory) / n / 1e3
        values["descriptors"] = (len(os.listdir("/dev/fd")) - files) / n
        values["objects of the garbage collector"] = (len(gc.get_objects()) - objects) / n

        async def collect() -> None:
            gc.collect()

        await time_of("a full collection", collect)

        async def call_all() -> None:
            async with trio.open_nursery() as nursery:
                for machine in machines:
                    nursery.start_soon(machine.call, "Bench.null")

        await call_all()  # looks the method up
        await time_of("call, all at once, processor time", call_all)
        values["keepalive, processor time"] = await _keepalive_time(machines) * 1e6

        async def shut_down() -> None:
            await session.shutdown()

        await time_of("shutdown, processor time", shut_down)
    return values


async def _keepalive_time(machines: list[bm.AsyncMachine]) -> float:
    """Return how much processor time a keepalive takes, in seconds."""

    def replies() -> int:
        return sum(len(machine.keepalive_reply_times) for machine in machines)

    before, began = replies(), time.process_time()
    await trio.sleep(4 * PERIOD)
    taken = time.process_time() - began
    return taken / (replies() - before)


def bigpi(n: int) -> Estimate:
    """Run bigpi on ``n`` in-memory machines; return its result."""
    with bm.Session(InProcessSystem) as session:
        machines = session.start(n, services={"PI": Bench()})
        *_, result = estimate(machines, 100_000 * n // 2, seed="many")
    return result


def _part(part: str, n: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.many", "--part", part, "--machines", str(n)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    values: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return values


if __name__ == "__main__":
    from benchmarks.many import main as main_of_module  # the machines' process imports it, too

    sys.exit(main_of_module())
