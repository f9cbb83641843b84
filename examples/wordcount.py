"""Count words in text files: ``python examples/wordcount.py [FILE ...]``.

Each file streams up to a machine as it is read, and counts stream back before the
file is through: neither end ever holds all of it. Written with the trio face.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import trio

import bigmachine as bm

LINES = 2_000  # counted before the counts are sent


class WordCount:
    """The service: one on each machine."""

    def count(self, text: BinaryIO) -> Iterator[Counter[str]]:
        """Yield the counts of ``text``, a part at a time."""
        counts: Counter[str] = Counter()
        for number, line in enumerate(text, start=1):
            counts.update(words(line))
            if number % LINES == 0:
                yield counts
                counts = Counter()
        yield counts


def words(line: bytes) -> list[str]:
    """Return the words of a line, in lower case."""
    return re.findall(r"[^\W\d_]+", line.decode(errors="replace").lower())


async def count_words(paths: Sequence[Path], *, machines: int) -> Counter[str]:
    """Count the words of all files on so many machines."""
    total: Counter[str] = Counter()
    remaining = iter(paths)  # shared: whichever machine is free takes the next

    async def work(machine: bm.AsyncMachine) -> None:
        for path in remaining:
            with path.open("rb") as file:
                parts: AsyncIterator[Counter[str]] = machine.stream("WordCount.count", file)
                async for counts in parts:
                    total.update(counts)
            print(f"{machine.name}: {path}", file=sys.stderr)

    async with bm.AsyncSession("local") as session, trio.open_nursery() as nursery:
        for machine in await session.start(machines, services={"WordCount": WordCount()}):
            nursery.start_soon(work, machine)
    return total


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example and return its exit status."""
    parser = argparse.ArgumentParser(description="Count words in text files.")
    parser.add_argument("files", nargs="*", type=Path, help="default: this repository's own")
    parser.add_argument("--machines", type=int, default=2, metavar="N")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="how many words to show")
    arguments = parser.parse_args(argv)
    files = arguments.files or _own_files()
    for path in files:
        if not path.is_file():
            parser.error(f"{path} is not a file")
    if arguments.machines < 1:
        parser.error("--machines must be 1 or more")
    total = trio.run(functools.partial(count_words, files, machines=arguments.machines))
    for word, count in total.most_common(arguments.top):
        print(f"{count:8,}  {word}")
    print(f"{total.total():8,}  words in all, {len(total):,} different ones")
    return 0


def _own_files() -> list[Path]:
    """Return the texts and sources of the repository this file is in."""
    root = Path(__file__).resolve().parent.parent
    paths = [*root.rglob("*.md"), *root.rglob("*.py")]
    return sorted(p for p in paths if not any(x[0] == "." for x in p.relative_to(root).parts))


if __name__ == "__main__":
    sys.exit(main())
