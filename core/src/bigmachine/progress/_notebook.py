"""The view for notebooks: HTML in the output of the cell, which changes there."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Sequence
from typing import Any

from ..machine._html import AMBER, GREEN, RED, dim, dot, escaped, table
from ._plain import result_text, state_text, title_parts
from ._start import FAILED, RUNNING, Start


class NotebookView:
    """Shows each start as a table of its own, which stays with its result."""

    interval = 0.5

    def __init__(self) -> None:
        self._handles: dict[Start, Any] = {}  # Any: of IPython
        self._shown: dict[Start, str] = {}

    def show(self, starts: Sequence[Start]) -> None:
        """Show how far they are."""
        for start in starts:
            self._update(start)

    def end(self, start: Start) -> None:
        """Show the result in the place of the table."""
        self._update(start, is_over=True)
        del self._handles[start], self._shown[start]

    def _update(self, start: Start, *, is_over: bool = False) -> None:
        shown = _Shown(start, is_over=is_over)
        if start not in self._handles:
            from IPython.display import display

            # A context of its own: then it belongs to the cell that runs now.
            self._handles[start] = contextvars.Context().run(display, shown, display_id=True)
        elif shown.html != self._shown[start]:
            self._handles[start].update(shown)
        self._shown[start] = shown.html


class _Shown:
    """A start as it is now, for IPython."""

    def __init__(self, start: Start, *, is_over: bool) -> None:
        self.text = (result_text(start) if is_over else "") or state_text(start)
        self.html = start_html(start, is_over=is_over)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


def start_html(start: Start, *, is_over: bool) -> str:
    """Return a start as a small table; once it ``is_over``, as a line if it went well."""
    if is_over and (result := result_text(start)):
        return f"<div>{dot(GREEN, result)}</div>"
    verb = "Starting" if not is_over else "Failed to start" if start.has_failed else "Launched"
    head, *rest = title_parts(start)
    title = f"<div><b>{verb} {escaped(head)}</b> {dim(', '.join(rest))}</div>"
    colors = {RUNNING: GREEN, FAILED: RED}
    rows = [
        [
            dot(colors.get(row.phase, AMBER), row.phase),
            f"{row.machines}",
            _bar(row.done / row.total) if row.total else "",
            dim(row.text) if row.text else "",
        ]
        for row in start.rows()
    ]
    reason = f"<div>{dim(start.reason)}</div>" if start.reason else ""
    return title + table(["", "", "", ""], rows) + reason


def _bar(fraction: float) -> str:
    return f'<progress value="{fraction:.3f}" style="width:12em"></progress>'


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, whose outputs can be HTML."""
    if (ipython := sys.modules.get("IPython")) is None:
        return False
    shell = ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")
