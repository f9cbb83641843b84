"""Small items of streams, each way: how many a second.

uv run python -m benchmarks.items               # 100,000 items each way, 3 rounds
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator

import bigmachine as bm

MIN_RATE = 50_000  # items a second


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
    n = options.items
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Bench": Bench()})
        ways: dict[str, Callable[[], int]] = {
            "down, def": lambda: sum(1 for _ in machine.stream("Bench.numbers", n)),
            "down, async def": lambda: sum(1 for _ in machine.stream("Bench.async_numbers", n)),
            "up, def": lambda: machine.call("Bench.count", iter(range(n))),
            "up, async def": lambda: machine.call("Bench.async_count", iter(range(n))),
        }
        rates = {}
        for name, use in ways.items():
            seconds = [timed(use, n) for _ in range(options.rounds)]
            rates[name] = n / statistics.median(seconds)
            print(f"{name:16} {rates[name]:9,.0f} items/s  (target: at least {MIN_RATE:,})")
    return int(min(rates.values()) < MIN_RATE)


def timed(use: Callable[[], int], items: int) -> float:
    """Return how many seconds ``use`` takes, which counts the items."""
    began = time.perf_counter()
    assert use() == items
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
