"""Count words in text files: ``python examples/wordcount.py [FILE ...]``.

Each file is streamed to a machine while it is read, and the machine counts its words. At
the end, the counts are streamed back and merged. Neither end ever has a whole file in
memory. This example uses the trio API.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import trio

import bigmachine as bm

ITEMS = 1_000  # words in one item of the stream of counts


class WordCount:
    """The service; each machine has one, with its own counts."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, text: BinaryIO) -> int:
        """Count the words of ``text``; return their number."""
        before = self._counts.total()
        for line in text:
            self._counts.update(words(line))
        return self._counts.total() - before

    def counts(self) -> Iterator[dict[str, int]]:
        """Yield all counts, some words at a time."""
        items = iter(self._counts.items())
        while part := dict(itertools.islice(items, ITEMS)):
            yield part


def words(line: bytes) -> list[str]:
    """Return the words of a line, in lower case."""
    return re.findall(r"[^\W\d_]+", line.decode(errors="replace").lower())


async def count_words(paths: Sequence[Path], *, machines: int) -> Counter[str]:
    """Count the words of all files, on ``machines`` machines."""
    total: Counter[str] = Counter()
    remaining = iter(paths)  # shared: the next machine that is free takes the next file

    async def work(machine: bm.AsyncMachine) -> None:
        found = []
        for path in remaining:
            with path.open("rb") as file:
                found.append(await machine.call("WordCount.add", file))
        print(f"{machine.name}: {sum(found):,} words in {len(found)} files", file=sys.stderr)
        async with machine.stream("WordCount.counts") as parts:
            async for part in parts:
                total.update(part)

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
    print(f"{total.total():8,}  words in total, {len(total):,} different ones")
    return 0


def _own_files() -> list[Path]:
    """Return the texts and sources of this repository."""
    root = Path(__file__).resolve().parent.parent
    paths = [*root.rglob("*.md"), *root.rglob("*.py")]
    return sorted(p for p in paths if not any(x[0] == "." for x in p.relative_to(root).parts))


if __name__ == "__main__":
    sys.exit(main())
