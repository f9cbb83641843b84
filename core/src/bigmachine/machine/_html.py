"""HTML for notebooks: small tables that need no style sheet, on a light page and a dark one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..errors import sanitize

GREEN, AMBER, RED = "#2da44e", "#bf8700", "#e5534b"
"""Readable on white and on black: a contrast of at least 3 to 1, for graphics and bold text."""

# Notebooks have styles of their own for tables, which these replace.
_ROW = "background:none"
_CELL = (
    "text-align:left;vertical-align:top;padding:2px 14px 2px 0;border:0;background:none;"
    "white-space:nowrap;max-width:none"
)
_NUMBER = _CELL.replace("left", "right", 1)


def escaped(text: object) -> str:
    """Return a text that stands for itself in HTML, also in an attribute."""
    import html  # late, because it has thousands of characters' names, for notebooks only

    return html.escape(sanitize(str(text)))


def dim(text: object) -> str:
    """Return an escaped text in a weaker color than the rest; it is wrapped if it is long."""
    style = "opacity:.65;display:inline-block;max-width:48em;white-space:normal"
    return f'<span style="{style}">{escaped(text)}</span>'


def dot(color: str, text: object) -> str:
    """Return an escaped text after a dot in a color, which is never all that tells it."""
    return f'<span style="color:{color}" aria-hidden="true">●</span>&nbsp;{escaped(text)}'


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()
) -> str:
    """Return a table of cells that are HTML; a column that is empty in all rows is left out.

    Columns whose header is one of ``right`` are aligned there, as numbers are.
    """
    used = [i for i in range(len(header)) if any(row[i] for row in rows)]
    styles = [_NUMBER if header[i] in right else _CELL for i in used]

    def line(tag: str, cells: Sequence[str], style: str = "") -> str:
        parts = (
            f'<{tag} style="{cell_style}{style}">{cells[i]}</{tag}>'
            for i, cell_style in zip(used, styles, strict=True)
        )
        return f'<tr style="{_ROW}">{"".join(parts)}</tr>'

    head = [line("th", header, ";font-weight:600;opacity:.65")] if any(header) else []
    return "\n".join(
        [
            '<div style="overflow-x:auto"><table style="border-collapse:collapse;border:0">',
            *head,
            *(line("td", row) for row in rows),
            "</table></div>",
        ]
    )
