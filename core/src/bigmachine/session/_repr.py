"""How sessions show themselves: as a line of text, and in notebooks as a table of machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._values import Cost
from ..errors import sanitize_line
from ..machine._repr import ShownMachine, counts_text, machines_html
from ..system import System

_ROWS = 50  # further machines are counted only: a notebook keeps what it shows


class SessionRepr:
    """What both kinds of session show of themselves; nothing of it waits, fails or opens them."""

    if TYPE_CHECKING:  # what it shows, beside `_identity`

        @property
        def system(self) -> System: ...
        @property
        def machines(self) -> Sequence[ShownMachine]: ...
        @property
        def cost(self) -> Cost: ...

    def _identity(self) -> tuple[str, str]:
        """Return its name, or nothing as long as it has none; and its state, as a word."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return sanitize_line(f"<{type(self).__name__} {self._text(self.machines)}>")

    def _repr_html_(self) -> str:
        from ..machine._html import dim, escaped

        machines = self.machines
        html = [f"<div><b>{type(self).__name__}</b> {escaped(self._text(machines))}</div>"]
        if machines:
            html.append(machines_html(machines[:_ROWS]))
        if len(machines) > _ROWS:
            html.append(f"<div>{dim(f'… and {len(machines) - _ROWS} more')}</div>")
        return "\n".join(html)

    def _text(self, machines: Sequence[ShownMachine]) -> str:
        name, state = self._identity()
        text = f"{name} on {self.system.name!r}, {state}".lstrip()
        if state == "open":
            text += f", {counts_text(machines)}"
        return f"{text}; {self.cost}" if self.cost else text
