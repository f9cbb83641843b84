"""How sessions show themselves: as a line of text, and in notebooks as a table of machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .._values import Cost
from ..errors import sanitize_line
from ..machine._controller import Controller
from ..machine._repr import counts_text, machines_html
from ..system import System

_ROWS = 50  # further machines are counted only: a notebook keeps what it shows


class Shown(NamedTuple):
    """What an open session shows: its name, its machines that are not ``STOPPED``, its cost."""

    name: str
    machines: Sequence[Controller]
    cost: Cost


class SessionRepr:
    """What both kinds of session have in common: nothing of it waits, fails or opens them."""

    if TYPE_CHECKING:

        @property
        def system(self) -> System: ...

    def _shown(self) -> tuple[Shown | None, str]:
        """Return what it shows, once it has a name, and its state."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return sanitize_line(f"<{type(self).__name__} {self._text()}>")

    def _repr_html_(self) -> str:
        from ..machine._html import dim, escaped

        text = f"<div><b>{escaped(type(self).__name__)}</b> {escaped(self._text())}</div>"
        shown, _ = self._shown()
        machines = [] if shown is None else shown.machines
        if machines:
            text += "\n" + machines_html(machines[:_ROWS])
        if len(machines) > _ROWS:
            text += f"\n<div>{dim(f'… and {len(machines) - _ROWS} more')}</div>"
        return text

    def _text(self) -> str:
        shown, state = self._shown()
        text = f"on {self.system.name!r}, {state}"
        if shown is None:
            return text
        text = f"{shown.name} {text}"
        if state == "open":
            text += f", {counts_text(shown.machines)}"
        return f"{text}; {shown.cost}" if shown.cost else text
