"""What a second core is worth to a `@bm.parallel` method: bigpi's samples, by one process and two.

uv run python -m benchmarks.parallel            # 3 rounds, 15 seconds
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time

import bigmachine as bm
from examples.bigpi import BATCH, CirclePI

MIN_TIMES = 1.8  # the samples in the same time
BATCHES = 80  # 1.5 s by one process


class Bench(CirclePI):
    """bigpi's service, whose calls run in up to maxprocs processes."""

    @bm.parallel
    def sample(self, n: int, seed: str) -> int:
        """Return how many of ``n`` random points are inside the quarter circle."""
        return super().sample(n, seed)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parallel", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("this needs two cores")
    times = measure(options.rounds)
    print(f"2 processes sample {times:.2f} times as fast as 1  (target: at least {MIN_TIMES:g})")
    return int(times < MIN_TIMES)


def print_values() -> None:
    """Print the values of a contestant's round, as JSON."""
    values = {"parallel_times": measure(1)} if len(os.sched_getaffinity(0)) > 1 else {}
    print(json.dumps(values))


def measure(rounds: int) -> float:
    """Return how many times as fast two processes are as one, with both in turns."""
    with (
        bm.Session("local", maxprocs=1) as one_session,
        bm.Session("local", maxprocs=2) as two_session,
    ):
        [one] = one_session.start(1, services={"PI": Bench()})
        [two] = two_session.start(1, services={"PI": Bench()})
        for machine in (one, two):
            seconds_of(machine, batches=4)  # starts the processes
        ratios = [
            seconds_of(one, batches=BATCHES) / seconds_of(two, batches=BATCHES)
            for _ in range(rounds)
        ]
    return statistics.median(ratios)


def seconds_of(machine: bm.Machine, *, batches: int) -> float:
    """Return how long a machine takes for so many batches."""
    began = time.perf_counter()
    futures = [machine.submit("PI.sample", BATCH, f"{n}") for n in range(batches)]
    assert all(future.result() for future in futures)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
