"""Small items of streams, each way: how many a second.

uv run python -m benchmarks.items               # 100,000 items each way, 3 rounds
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator

import bigmachine as bm

MIN_RATE = 50_000  # items a second
ROUND_ITEMS = 50_000  # of a contestant's round


class Bench:
    """Methods of each kind that yield or read numbers."""

    def numbers(self, n: int) -> Iterator[int]:
        """Yield ``n`` numbers, in a thread."""
        yield from range(n)

    async def async_numbers(self, n: int) -> AsyncIterator[int]:
        """Yield ``n`` numbers, in the loop."""
        for i in range(n):
            yield i

    def count(self, items: Iterator[int]) -> int:
        """Count items, in a thread."""
        return sum(1 for _ in items)

    async def async_count(self, items: AsyncIterator[int]) -> int:
        """Count items, in the loop."""
        return sum([1 async for _ in items])


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.items", description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    rates = measure(options.items, rounds=options.rounds)
    for name, rate in rates.items():
        print(f"{name:16} {rate:9,.0f} items/s  (target: at least {MIN_RATE:,})")
    return int(min(rates.values()) < MIN_RATE)


def print_values() -> None:
    """Print the values of a contestant's round, as JSON: each way, of the slower kind of method."""
    rates = measure(ROUND_ITEMS, rounds=1)
    values = {
        f"items_{way}_per_s": min(rate for name, rate in rates.items() if name.startswith(way))
        for way in ("down", "up")
    }
    print(json.dumps(values))


def measure(n: int, *, rounds: int) -> dict[str, float]:
    """Return the items per second, each way and for each kind of method."""
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Bench": Bench()})
        ways: dict[str, Callable[[], int]] = {
            "down, def": lambda: sum(1 for _ in machine.stream("Bench.numbers", n)),
            "down, async def": lambda: sum(1 for _ in machine.stream("Bench.async_numbers", n)),
            "up, def": lambda: machine.call("Bench.count", iter(range(n))),
            "up, async def": lambda: machine.call("Bench.async_count", iter(range(n))),
        }
        return {
            name: n / statistics.median([timed(use, n) for _ in range(rounds)])
            for name, use in ways.items()
        }


def timed(use: Callable[[], int], items: int) -> float:
    """Return how many seconds ``use`` takes, which counts the items."""
    began = time.perf_counter()
    assert use() == items
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
