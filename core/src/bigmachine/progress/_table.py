"""The view for terminals: a live table below the cursor, drawn by rich if it is installed."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Sequence

from ..machine.output._screen import Terminal, is_in_background, screen, terminal
from ..machine.output._text_streams import has_colors
from ._plain import result_text, title_parts, write_line
from ._start import FAILED, RUNNING, Start

Draw = Callable[[Sequence[Start], Terminal], list[str]]
"""Returns the lines to show, which must not be wider than the terminal."""

_BAR_COLUMNS = 76  # what bars need, beside counts of bytes
_COLORS = {RUNNING: "32", FAILED: "31"}


class TableView:
    """Draws all starts as one table; when one ends, a line says what came of it."""

    interval = 0.2

    def __init__(self) -> None:
        self._draw = _rich_or_ansi()

    def show(self, starts: Sequence[Start]) -> None:
        """Draw them; or nothing, if there are none or if it can't be seen."""
        now = terminal()
        if not starts or now is None or is_in_background(now.descriptor):
            screen.clear()
        else:
            draw = self._draw if now.columns >= _BAR_COLUMNS else draw_ansi
            screen.show(now, draw(starts, now))

    def end(self, start: Start) -> None:
        """Write what came of it above the others."""
        screen.clear()
        if result := result_text(start):
            write_line(result)


def draw_ansi(starts: Sequence[Start], now: Terminal) -> list[str]:
    """Return the table as a terminal without rich shows it."""
    colors = has_colors(sys.stderr)
    lines: list[str] = []
    for start in starts:
        lines.append(_cut(f"Starting {', '.join(title_parts(start))}", now.columns))
        for row in start.rows():
            line = _cut(f"  {row.phase:<12} {row.machines:>4}  {row.text}".rstrip(), now.columns)
            color = _COLORS.get(row.phase, "33")
            lines.append(
                line.replace(row.phase, f"\x1b[{color}m{row.phase}\x1b[m", 1) if colors else line
            )
        if start.reason:
            lines.append(_cut(f"    {start.reason}", now.columns))
    return lines


def _cut(line: str, columns: int) -> str:
    """Return as much of a line as there is room for, and one more column."""
    width = 0
    for at, character in enumerate(line):
        width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if width >= columns:
            return line[: max(0, at - 4)] + "..."
    return line


def _rich_or_ansi() -> Draw:
    try:
        from ._rich import draw_rich
    except Exception:  # it is not installed, or too old
        return draw_ansi
    return draw_rich
