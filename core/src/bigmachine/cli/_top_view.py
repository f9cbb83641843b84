"""What `bigmachine top` shows: lines of text for one status, as wide as the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._full_names import short_name
from .._values import duration_text, size_text
from ._top_columns import (
    AMBER,
    MACHINE_COLUMNS,
    METHOD_COLUMNS,
    RED,
    STATES,
    Cell,
    Column,
    Row,
    number_text,
)

_BOLD, _DIM, _HEADING = "1", "2", "7"
_GAP = "  "
_LOW = 12  # rows of a terminal with no room for more than one line about the session
_MIN_MACHINES = 4  # before methods are shown
# A machine is slow whose value is so many times the median machine's, and so many seconds.
_SLOW = (("reply_time", 3, 0.05, "slow to reply"), ("call_seconds", 2, 0.01, "slow calls"))
_ASCII = str.maketrans("█░µ", "#.u")


@dataclass(frozen=True, slots=True)
class Look:
    """How somebody wants to see it. ``rows`` of 0 is any number; ``skip`` is of machines."""

    columns: int
    rows: int = 0
    sort: int = 0
    is_reversed: bool = False
    skip: int = 0
    has_colors: bool = False
    is_unicode: bool = True


def draw(status: Row, look: Look, *, footer: str = "") -> list[str]:
    """Return the lines to show, each narrower than ``look.columns``."""
    head = [*_head(status), []]
    methods = [[], *_method_table(status, look)] if status["methods"] else []
    room = len(status["machines"])
    if look.rows:
        if look.rows < _LOW:
            head = head[:1]
        room = look.rows - len(head) - len(methods) - 2  # the heading, and the footer
        if room < _MIN_MACHINES:
            room, methods = room + len(methods), []
    lines = [*head, *_machine_table(status, look, max(1, room)), *methods]
    if look.rows:
        lines = lines[: look.rows - 1]
        lines += [[]] * (look.rows - 1 - len(lines)) + [[Cell(footer, _DIM)]]
    return [_painted(line, look) for line in lines]


def sorted_machines(status: Row, look: Look) -> list[Row]:
    """Return the machines in the order in which they are shown: those that stopped come last."""
    column = MACHINE_COLUMNS[look.sort]
    known = [row for row in status["machines"] if column.key(row) is not None]
    rest = [row for row in status["machines"] if column.key(row) is None]
    # What is largest comes first, but names and texts are in their order.
    known.sort(key=column.key, reverse=column.is_number != look.is_reversed)
    return sorted([*known, *rest], key=lambda row: row["state"] == "stopped")


def _head(status: Row) -> Iterator[list[Cell]]:
    machines = status["machines"]
    running = [row for row in machines if row["state"] == "running"]
    states = [row["state"] for row in machines]
    counts = [f"{states.count(state)} {state}" for state in STATES if state in states]
    parts = [f"on {status['system']}", f"open for {duration_text(status['age'])}"]
    parts += [status["program"], f"pid {status['pid']}"]
    short = short_name(status["name"])
    yield [Cell(short, _BOLD), Cell(_GAP + ", ".join(filter(None, parts)))]
    text = ", ".join(counts) or "no machines"
    cores = _sum(running, "maxprocs")
    if (cpus := _sum(running, "cpus")) is not None and cores:
        text += f"; CPU {cpus:.1f} of {cores:.0f} cores"
    if (rate := _sum(running, "calls_per_second")) is not None:
        text += f"; {number_text(rate)} calls/s"
    if in_flight := _sum(running, "calls_in_flight"):
        text += f", {in_flight:.0f} now"
    yield [Cell(text)]
    price = status["cost_per_hour"]
    costs = [f"${price:.3f} an hour" if price is not None else "", status["cost"]]
    if any(costs):
        yield [Cell("; so far: ".join(filter(None, costs)))]


def _machine_table(status: Row, look: Look, room: int) -> Iterator[list[Cell]]:
    machines = sorted_machines(status, look)
    columns = _fitting(MACHINE_COLUMNS, machines, look)
    widths = _widths(columns, machines)
    chosen = MACHINE_COLUMNS[look.sort]
    yield [*_headings(columns, widths, look, chosen)]
    slow = _slowest(machines)
    skip = max(0, min(look.skip, len(machines) - room))
    shown = machines[skip : skip + room]
    if len(machines) > skip + room and room > 1:
        shown = shown[:-1]
    for row in shown:
        cells = [*_cells(columns, widths, row, look)]
        if row["state"] != "running":
            # It has no measures, and more to say.
            used = 2 * 2  # name and state, each with its gap
            cells = [*cells[:used], Cell(_remark(row), RED if row["error"] else AMBER)]
        yield cells
        if row["state"] == "running":
            remark = "; ".join(filter(None, [_remark(row), slow.get(row["name"])]))
            indent = " " * (widths[0] + len(_GAP))
            if remark:
                yield [Cell(indent + remark, AMBER if row["is_healthy"] else RED)]
    if (left := len(machines) - skip - len(shown)) and room > 1:
        yield [Cell(f"and {left} more", _DIM)]
    if status["forgotten"]:
        yield [Cell(f"and {status['forgotten']} that stopped earlier", _DIM)]


def _method_table(status: Row, look: Look) -> Iterator[list[Cell]]:
    methods = status["methods"]
    if look.rows:
        methods = methods[: max(3, look.rows // 4)]
    columns = _fitting(METHOD_COLUMNS, methods, look)
    widths = _widths(columns, methods)
    yield [*_headings(columns, widths, look, None)]
    for row in methods:
        yield [*_cells(columns, widths, row, look)]
    if more := len(status["methods"]) - len(methods):
        yield [Cell(f"and {more} more methods", _DIM)]


def _slowest(machines: Sequence[Row]) -> dict[str, str]:
    """Say which machine stands out by how slow it is, by the same rule as the page."""
    found: dict[str, str] = {}
    for key, factor, least, remark in _SLOW:
        known = sorted(row[key] for row in machines if row[key] is not None)
        if len(known) >= 3 and known[-1] > max(factor * known[len(known) // 2], least):
            slowest = next(row["name"] for row in machines if row[key] == known[-1])
            found[slowest] = "; ".join(filter(None, [found.get(slowest), remark]))
    return found


def _remark(row: Row) -> str:
    parts = []
    if row["boot_phase"]:
        done, total = row["boot_done"], row["boot_total"]
        if row["boot_phase"] == "upload" and total:
            amount = f" {size_text(done)} of {size_text(total)}"
        else:
            amount = f" {done} of {total}" if total else ""
        parts.append(row["boot_phase"] + amount)
    if row["is_silent"]:
        age = row["silent_for"]
        parts.append("silent" + (f": its last reply came {duration_text(age)} ago" if age else ""))
    if not row["is_healthy"]:
        parts.append("memory nearly full")
    parts += [row["error"], row["notice"]]
    return "; ".join(filter(None, parts))


def _fitting(columns: Sequence[Column], rows: Sequence[Row], look: Look) -> list[Column]:
    """Return the columns that have something to show, as many as there is room for."""
    shown = [
        column
        for column in columns
        if not column.gives_way or any(column.cell(row).text for row in rows)
    ]
    while sum(_widths(shown, rows)) + len(_GAP) * len(shown) >= look.columns:
        last = max(shown, key=lambda column: column.gives_way)
        if not last.gives_way:
            break
        shown.remove(last)
    return shown


def _widths(columns: Sequence[Column], rows: Sequence[Row]) -> list[int]:
    return [
        max([len(column.title) + 1, *(len(column.cell(row).text) for row in rows)])
        for column in columns
    ]


def _headings(
    columns: Sequence[Column], widths: Sequence[int], look: Look, chosen: Column | None
) -> Iterator[Cell]:
    down, up = "▾▴" if look.is_unicode else "v^"
    for column, width in zip(columns, widths, strict=True):
        is_down = column.is_number != look.is_reversed
        mark = (down if is_down else up) if column is chosen else " " * (not column.is_number)
        title = f"{column.title}{mark}"
        padded = f"{title:>{width}}" if column.is_number else f"{title:{width}}"
        yield Cell(padded + _GAP, _HEADING)
    used = sum(widths) + len(_GAP) * len(widths)
    yield Cell(" " * max(0, look.columns - 1 - used), _HEADING)


def _cells(
    columns: Sequence[Column], widths: Sequence[int], row: Row, look: Look
) -> Iterator[Cell]:
    for column, width in zip(columns, widths, strict=True):
        cell = column.cell(row)
        if not look.is_unicode:
            cell = Cell(cell.text.translate(_ASCII), cell.color)
        yield Cell(
            f"{cell.text:>{width}}" if column.is_number else f"{cell.text:{width}}", cell.color
        )
        yield Cell(_GAP)


def _painted(cells: Sequence[Cell], look: Look) -> str:
    """Return a line of these cells, cut at the terminal's edge."""
    room = look.columns - 1
    line = ""
    for cell in cells:
        text = cell.text
        if len(text) > room:
            text = text[: max(0, room - 3)] + "..."[:room]
        room -= len(text)
        line += f"\x1b[{cell.color}m{text}\x1b[m" if cell.color and look.has_colors else text
    return line if look.has_colors else line.rstrip()


def _sum(rows: Sequence[Row], key: str) -> float | None:
    known = [row[key] for row in rows if row[key] is not None]
    return sum(known) if known else None
