"""How sessions show themselves: as a line of text, and in notebooks as a table of machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import sanitize_line
from ..machine._repr import counts_text, machines_html
from ..system import System

if TYPE_CHECKING:
    from ._async import AsyncSession

_ROWS = 50  # further machines are counted only: a notebook keeps what it shows


class SessionRepr:
    """What both kinds of session have in common: nothing of it waits, fails or opens them."""

    if TYPE_CHECKING:

        @property
        def system(self) -> System: ...

    def _shown(self) -> tuple[AsyncSession | None, str]:
        """Return the session that knows its name and machines, if there is one, and its state."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return sanitize_line(f"<{type(self).__name__} {self._text()}>")

    def _repr_html_(self) -> str:
        from ..machine._html import dim, escaped

        text = f"<div><b>{escaped(type(self).__name__)}</b> {escaped(self._text())}</div>"
        session, _ = self._shown()
        machines = [] if session is None else session.machines
        if machines:
            text += "\n" + machines_html(machines[:_ROWS])
        if len(machines) > _ROWS:
            text += f"\n<div>{dim(f'… and {len(machines) - _ROWS} more')}</div>"
        return text

    def _text(self) -> str:
        session, state = self._shown()
        text = f"on {self.system.name!r}, {state}"
        if session is None:
            return text
        text = f"{session.name} {text}"
        if state == "open":
            text += f", {counts_text(session.machines)}"
        return f"{text}; {session.cost}" if session.cost else text
