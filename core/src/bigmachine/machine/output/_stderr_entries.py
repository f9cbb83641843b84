"""What is written to standard error of machines, as text."""

from __future__ import annotations

import codecs
import contextlib
import functools
import logging
import re
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...errors import sanitize, sanitize_line
from ...logs._record_lines import RecordLine
from ._handle_record import handle_record

_DECODER = codecs.getincrementaldecoder("utf-8")
_INCOMPLETE = re.compile(r"(?:\x1b(?:\[[0-?]*|\][^\x07\x1b]*)?)\Z")
# Of machines' names, by ECMA-48. Not red, which looks like an error.
_COLORS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


@dataclass(slots=True)
class Line:
    """A line of a machine, or so much of it as there is."""

    machine: str
    line: bytes
    is_whole: bool = True

    @property
    def lines(self) -> Counter[str]:
        return Counter([self.machine])

    def text(self, *, colors: bool) -> str:
        if self.is_whole:
            line = self.line.decode(errors="backslashreplace")
        else:  # its last character, or escape sequence, may not be all here
            line = _INCOMPLETE.sub("", _DECODER("backslashreplace").decode(self.line))
        return f"{prefix(self.machine, colors=colors)}{sanitize(line, colors=colors)}\n"


class Record(Line):
    """A line that is a record of the machine's `logging`."""

    @functools.cached_property
    def parsed(self) -> RecordLine | None:
        """What it says; None if it is damaged."""
        return RecordLine.parse(self.line, self.machine)

    @property
    def has_handlers(self) -> bool:
        """Whether there is somebody to handle it: `logging` is configured in this program."""
        return self.parsed is not None and self._logger.hasHandlers()

    def handle(self) -> None:
        """Give it to the program's own `logging`, if it is to be logged."""
        parsed = self.parsed
        if parsed is None or not self._logger.isEnabledFor(parsed.level):
            return
        try:
            record = parsed.to_record()
        except Exception:  # of a factory of the user's
            with contextlib.suppress(Exception):
                traceback.print_exc()
        else:
            handle_record(record, is_of_machine=True)

    def text(self, *, colors: bool) -> str:
        """Return what `logging` prints as long as it is not configured: warnings, and worse."""
        parsed, last_resort = self.parsed, logging.lastResort
        if parsed is None:
            return super().text(colors=colors)
        level = parsed.level
        if last_resort is None or level < last_resort.level or not self._logger.isEnabledFor(level):
            return ""
        begin = prefix(self.machine, colors=colors)
        return "".join(f"{begin}{line}\n" for line in parsed.text.split("\n"))

    @property
    def _logger(self) -> logging.Logger:
        assert self.parsed is not None
        return logging.getLogger(self.parsed.logger)


@dataclass(slots=True)
class Gap:
    """Lines that were not written, by machine."""

    lines: Counter[str] = field(default_factory=Counter)
    reason: str = ""

    def text(self, *, colors: bool) -> str:
        return "".join(self._notes())

    def _notes(self) -> Iterator[str]:
        for machine, count in self.lines.items():
            lines = "1 line" if count == 1 else f"{count:,} lines"
            were = "was" if count == 1 else "were"
            reason = sanitize_line(self.reason)
            yield f"… {lines} of {machine} {were} not shown: {reason}\n"


@dataclass(slots=True)
class Step:
    """The unfinished line of a machine, as it is now."""

    line: bytes
    began: float
    is_shown: bool = False


def prefix(machine: str, *, colors: bool) -> str:
    """Return what a line of a machine begins with; its color is the same for all of them."""
    if not colors:
        return f"{machine}: "
    number = int(digits[0]) if (digits := re.findall(r"\d+", machine)) else len(machine)
    return f"\x1b[{_COLORS[number % len(_COLORS)]}m{machine}\x1b[0m: "
