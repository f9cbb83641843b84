"""The view for pipes and files: a line now and then, of starts that take long."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from ..machine.output._text_streams import write_text
from ._start import Start

FIRST_SECONDS = 5.0
"""How long a start takes before its first line."""

_MOST_SECONDS = 60.0  # between two lines; at first, each comes after twice the time


class PlainView:
    """Writes lines to standard error, and one at the end if there were any before."""

    interval = 1.0

    def __init__(self) -> None:
        self._due: dict[Start, float] = {}

    def show(self, starts: Sequence[Start]) -> None:
        """Write what is due."""
        for start in starts:
            seconds = start.seconds
            if seconds >= self._due.get(start, FIRST_SECONDS):
                self._due[start] = seconds + min(seconds, _MOST_SECONDS)
                write_line(state_text(start))

    def end(self, start: Start) -> None:
        """Write the result, unless there is none or the start was short."""
        if self._due.pop(start, math.inf) < math.inf and (result := result_text(start)):
            write_line(result)


def state_text(start: Start) -> str:
    """Return how far a start is, in one line."""
    rows = [
        f"{row.machines} {row.phase}" + (f" ({row.text})" if row.text else "")
        for row in start.rows()
    ]
    text = f"starting {', '.join(title_parts(start))}: {', '.join(rows)}"
    return f"{text}; {start.reason}" if start.reason else text


def title_parts(start: Start) -> list[str]:
    """Return what a start is: ``"5 machines on ec2"``, ``"12 s"`` and ``"$0.85 an hour"``."""
    machines = f"{start.requested} machine{'s' * (start.requested != 1)}"
    parts = [f"{machines} on {start.system}", start.seconds_text(), start.cost_text()]
    return [part for part in parts if part]


def result_text(start: Start) -> str:
    """Return what came of a start; nothing if it failed, which its error tells."""
    if not start.is_complete:
        return ""
    count, plural = start.running, start.requested != 1
    of = f"{count} of {start.requested}" if count < start.requested else f"{count}"
    machines = f"{of} machine{'s' * plural} {'are' if plural else 'is'} running"
    parts = [f"{machines} on {start.system} after {start.seconds_text()}", start.cost_text()]
    return ", ".join(filter(None, parts))


def write_line(text: str) -> None:
    """Write a line of our own to standard error."""
    if sys.stderr is not None:
        write_text(sys.stderr, f"bigmachine: {text}\n")
