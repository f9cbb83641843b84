"""The live table as rich draws it; importing this takes rich, and its time."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..machine.output._screen import Terminal
from ._plain import title_parts
from ._start import FAILED, PHASES, RUNNING, Row, Start

_STYLES = {RUNNING: "green", FAILED: "red"}
_PHASE_WIDTH = 2 + max(map(len, PHASES))
_BAR_WIDTH = 24


def draw_rich(starts: Sequence[Start], now: Terminal) -> list[str]:
    """Return the table as lines with their escape sequences."""
    console = Console(
        file=_Text(now.encoding),
        width=now.columns - 1,
        height=now.rows,
        force_terminal=True,
        force_jupyter=False,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    with console.capture() as capture:
        for start in starts:
            lines = [_title(start), _table(start)]
            if reason := start.reason:
                lines.append(Text(f"    {reason}", "dim"))
            for line in lines:
                console.print(line, no_wrap=True, overflow="ellipsis")
    return capture.get().splitlines()


def _title(start: Start) -> Text:
    what, *rest = title_parts(start)
    return Text.assemble((f"Starting {what}", "bold"), *((f"  {each}", "dim") for each in rest))


def _table(start: Start) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=_PHASE_WIDTH)  # fixed, so that nothing moves to and fro
    table.add_column(min_width=3, justify="right", no_wrap=True)
    table.add_column(width=_BAR_WIDTH, no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for row in start.rows():
        style = _STYLES.get(row.phase, "yellow")
        table.add_row(
            Text(f"  {row.phase}", style),
            f"{row.machines}",
            _bar(row, start),
            Text(row.text, "dim"),
        )
    return table


def _bar(row: Row, start: Start) -> ProgressBar | str:
    if row.phase == RUNNING:
        return ProgressBar(start.requested, row.machines, width=_BAR_WIDTH)
    if row.total:
        return ProgressBar(row.total, row.done, width=_BAR_WIDTH)
    return ""


class _Text(io.StringIO):
    """Text for a terminal of this encoding: rich draws bars by what that has."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding
