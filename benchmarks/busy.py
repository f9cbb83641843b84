"""How long a null call takes on a machine whose other threads compute in pure Python.

uv run python -m benchmarks.busy                  # 3 rounds, 1 minute

They share the machine's interpreter: whoever needs it waits for a switch interval, which is
0.5 ms on machines, once for each thread that computes, and for each time that the call needs it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

import bigmachine as bm

MAX_P99 = 0.005  # seconds, beside one thread that computes
BUSY = (0, 1, 2, 4)  # threads that compute


class Bench:
    """Null methods, and one that computes."""

    def __init__(self) -> None:
        self._is_over = False

    def null(self) -> None:
        """Return at once, from a thread."""

    async def async_null(self) -> None:
        """Return at once, from the machine's loop."""

    def compute(self) -> int:
        """Compute in pure Python until `end`."""
        n = 0
        while not self._is_over:
            for i in range(10_000):
                n += i * i
        return n

    @bm.concurrent
    def end(self) -> None:
        """Let all that compute return."""
        self._is_over = True

    def set_switch_interval(self, seconds: float) -> None:
        """Set the interpreter's switch interval, as a service may."""
        sys.setswitchinterval(seconds)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each of 16 figures")
    parser.add_argument("--interval", type=float, help="another switch interval, in seconds")
    options = parser.parse_args(arguments)
    print("null call, in ms: median and 99th percentile, of the median round")
    print(f"{'threads that compute':24}" + "".join(f"{busy:16}" for busy in BUSY))
    is_met = True
    for name, measure in WAYS.items():
        columns = []
        for busy in BUSY:
            rounds = [measure(busy, options) for _ in range(options.rounds)]
            p50, p99 = map(statistics.median, zip(*rounds, strict=True))
            columns.append(f"{p50 * 1e3:8.2f}{p99 * 1e3:8.2f}")
            is_met = is_met and (busy > 1 or p99 <= MAX_P99)
        print(f"{name:24}" + "".join(columns), flush=True)
    print(f"target: a p99 of at most {MAX_P99 * 1e3:g} beside one thread")
    return int(not is_met)


def sync_def(busy: int, options: argparse.Namespace) -> tuple[float, float]:
    """Call a ``def`` method over the sync API: by a lane, from thread to thread."""
    return sync_call("Bench.null", busy, options)


def sync_async(busy: int, options: argparse.Namespace) -> tuple[float, float]:
    """Call an ``async def`` method over the sync API: by a lane, from a thread to the loop."""
    return sync_call("Bench.async_null", busy, options)


def sync_call(method: str, busy: int, options: argparse.Namespace) -> tuple[float, float]:
    """Call ``method`` over the sync API."""
    with bm.Session("local", maxprocs=busy + 1) as session:
        [machine] = session.start(1, services={"Bench": Bench()})
        if options.interval is not None:
            machine.call("Bench.set_switch_interval", options.interval)
        with computing(machine, busy):
            times = []
            end = time.perf_counter() + options.seconds
            for _ in range(10):  # some make lanes
                machine.call(method)
            while (began := time.perf_counter()) < end or len(times) < 2:
                machine.call(method)
                times.append(time.perf_counter() - began)
    return percentiles(times)


def trio_def(busy: int, options: argparse.Namespace) -> tuple[float, float]:
    """Call a ``def`` method over the trio API: by a lane, from a task to a thread."""
    return trio.run(trio_call, "Bench.null", busy, options)


def trio_async(busy: int, options: argparse.Namespace) -> tuple[float, float]:
    """Call an ``async def`` method over the trio API, from loop to loop."""
    return trio.run(trio_call, "Bench.async_null", busy, options)


async def trio_call(method: str, busy: int, options: argparse.Namespace) -> tuple[float, float]:
    """Call ``method`` over the trio API."""
    async with bm.AsyncSession("local", maxprocs=busy + 1) as session:
        [machine] = await session.start(1, services={"Bench": Bench()})
        if options.interval is not None:
            await machine.call("Bench.set_switch_interval", options.interval)
        async with trio.open_nursery() as nursery:
            for _ in range(busy):
                nursery.start_soon(machine.call, "Bench.compute")
            await trio.sleep(0.1)  # they compute by then
            times = []
            end = time.perf_counter() + options.seconds
            await machine.call(method)
            while (began := time.perf_counter()) < end or len(times) < 2:
                await machine.call(method)
                times.append(time.perf_counter() - began)
            await machine.call("Bench.end")
    return percentiles(times)


@contextmanager
def computing(machine: bm.Machine, busy: int) -> Iterator[None]:
    """Have so many threads of the machine compute in the block."""
    futures = [machine.submit("Bench.compute") for _ in range(busy)]
    time.sleep(0.1)  # they compute by then
    yield
    machine.call("Bench.end")
    assert all(future.result() for future in futures)


def percentiles(times: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    return statistics.median(times), statistics.quantiles(times, n=100, method="inclusive")[98]


WAYS: dict[str, Callable[[int, argparse.Namespace], tuple[float, float]]] = {
    "sync API, def": sync_def,
    "sync API, async def": sync_async,
    "trio API, def": trio_def,
    "trio API, async def": trio_async,
}


if __name__ == "__main__":
    sys.exit(main())
