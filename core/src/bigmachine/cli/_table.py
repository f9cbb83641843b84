"""Lay out text in aligned columns, for terminals of 80 characters.

Cells may come from a provider, so they are sanitized.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from ..errors import sanitize_line

WIDTH = 80
_LABEL_WIDTH = 18
_COMMAND = re.compile("`[^`]*`")
_NO_BREAK = "\0"  # it is in no text, and textwrap does not break lines at it


def table(
    rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), indent: int = 2
) -> Iterator[str]:
    """Yield a line for each of ``rows``, with its cells in columns; empty columns are left out.

    ``right`` has one more cell per row, for the right edge of the terminal.
    """
    cleaned = ([sanitize_line(cell) for cell in row] for row in rows)
    columns = [column for column in zip(*cleaned, strict=True) if any(column)]
    widths = [max(map(len, column)) for column in columns]
    for row, end in zip(zip(*columns, strict=True), right or [""] * len(rows), strict=True):
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield spread(" " * indent + "  ".join(cells).rstrip(), end)


def spread(left: str, right: str) -> str:
    """Return a line with one text at each edge of the terminal."""
    left, right = sanitize_line(left), sanitize_line(right)
    return f"{left:{WIDTH - len(right) - 2}}  {right}".rstrip()


def labeled(label: str, text: str, *, indent: int = 0) -> str:
    """Return a line with ``label`` and, in the second column, ``text``."""
    return f"{' ' * indent}{label:{_LABEL_WIDTH - indent}}{text}".rstrip()


def wrapped(text: str, *, label: str = "", indent: int = 2) -> Iterator[str]:
    """Yield the lines of ``text``, in the second column if it has a ``label``.

    A label that is too long for the first column gets a line of its own. So does a command, between
    backquotes, that does not fit in the rest of its line: people copy it.
    """
    start = " " * indent
    if label:
        start += f"{label:{_LABEL_WIDTH - indent}}"
        indent = _LABEL_WIDTH
        if not start.endswith(" "):
            yield start
            start = " " * indent
    whole = _COMMAND.sub(lambda command: command[0].replace(" ", _NO_BREAK), text)
    lines = textwrap.wrap(
        whole,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    yield from (line.replace(_NO_BREAK, " ") for line in lines)


def count_text(number: int, noun: str) -> str:
    """Return a number with its noun: ``"1 machine"``, ``"2 machines"``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
