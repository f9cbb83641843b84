"""What `bigmachine top` shows: lines of text for one status, as wide as the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._values import duration_text, size_text

Row = Mapping[str, Any]  # Any: a `MachineStatus` or a `MethodStatus`, which came as JSON

_STATES = ("running", "booting", "launched", "stopped")
_GREEN, _AMBER, _RED = "32", "33", "31"
_BOLD, _DIM, _HEADING = "1", "2", "7"
_STATE_COLORS = {"running": _GREEN, "stopped": _RED}
_FULL, _NEARLY_FULL = 0.95, 0.8  # of memory and disk; a machine is unhealthy from 95 % on
_GAP = "  "
_LOW = 12  # rows of a terminal with no room for more than one line about the session
_MIN_MACHINES = 4  # before methods are shown
_ASCII = str.maketrans("█░µ", "#.u")
_BAR_WIDTH = 8


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, without escape sequences, and its color."""

    text: str
    color: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: what it shows of a row, what it sorts by, and how soon it gives way to others."""

    title: str
    show: Callable[[Row], Cell | str]
    key: Callable[[Row], Any]
    gives_way: int = 0  # those with the highest number first; 0 never
    is_number: bool = True


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
    counts = [f"{states.count(state)} {state}" for state in _STATES if state in states]
    parts = [f"on {status['system']}", f"open for {duration_text(status['age'])}"]
    parts += [status["program"], f"pid {status['pid']}"]
    short = status["name"].partition(".")[0]
    yield [Cell(short, _BOLD), Cell(_GAP + ", ".join(filter(None, parts)))]
    text = ", ".join(counts) or "no machines"
    cores = _sum(running, "maxprocs")
    if (cpus := _sum(running, "cpus")) is not None and cores:
        text += f"; CPU {cpus:.1f} of {cores:.0f} cores"
    if (rate := _sum(running, "calls_per_second")) is not None:
        text += f"; {_number(rate)} calls/s"
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
    skip = max(0, min(look.skip, len(machines) - room))
    shown = machines[skip : skip + room]
    if len(machines) > skip + room and room > 1:
        shown = shown[:-1]
    for row in shown:
        cells = [*_cells(columns, widths, row, look)]
        if row["state"] != "running":
            # It has no measures, and more to say.
            used = 2 * 2  # name and state, each with its gap
            cells = [*cells[:used], Cell(_remark(row), _RED if row["error"] else _AMBER)]
        yield cells
        if row["state"] == "running" and (remark := _remark(row)):
            indent = " " * (widths[0] + len(_GAP))
            yield [Cell(indent + remark, _AMBER if row["is_healthy"] else _RED)]
    if (left := len(machines) - skip - len(shown)) and room > 1:
        yield [Cell(f"and {left} more", _DIM)]
    if status["forgotten"]:
        yield [Cell(f"and {status['forgotten']} that stopped earlier", _DIM)]


def _method_table(status: Row, look: Look) -> Iterator[list[Cell]]:
    methods = status["methods"]
    if look.rows:
        methods = methods[: max(3, look.rows // 4)]
    columns = _fitting(_METHOD_COLUMNS, methods, look)
    widths = _widths(columns, methods)
    yield [*_headings(columns, widths, look, None)]
    for row in methods:
        yield [*_cells(columns, widths, row, look)]
    if more := len(status["methods"]) - len(methods):
        yield [Cell(f"and {more} more methods", _DIM)]


def _remark(row: Row) -> str:
    parts = []
    if row["boot_phase"]:
        done, total = row["boot_done"], row["boot_total"]
        if row["boot_phase"] == "upload" and total:
            amount = f" {size_text(done)} of {size_text(total)}"
        else:
            amount = f" {done} of {total}" if total else ""
        parts.append(row["boot_phase"] + amount)
    if not row["is_healthy"]:
        parts.append("memory nearly full")
    parts += [row["error"], row["notice"]]
    return "; ".join(filter(None, parts))


def _fitting(columns: Sequence[Column], rows: Sequence[Row], look: Look) -> list[Column]:
    """Return the columns that have something to show, as many as there is room for."""
    shown = [
        column
        for column in columns
        if not column.gives_way or any(_cell(column, row).text for row in rows)
    ]
    while sum(_widths(shown, rows)) + len(_GAP) * len(shown) >= look.columns:
        last = max(shown, key=lambda column: column.gives_way)
        if not last.gives_way:
            break
        shown.remove(last)
    return shown


def _widths(columns: Sequence[Column], rows: Sequence[Row]) -> list[int]:
    return [
        max([len(column.title) + 1, *(len(_cell(column, row).text) for row in rows)])
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
        cell = _cell(column, row)
        if not look.is_unicode:
            cell = Cell(cell.text.translate(_ASCII), cell.color)
        yield Cell(
            f"{cell.text:>{width}}" if column.is_number else f"{cell.text:{width}}", cell.color
        )
        yield Cell(_GAP)


def _cell(column: Column, row: Row) -> Cell:
    shown = column.show(row)
    return shown if isinstance(shown, Cell) else Cell(shown)


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


def _bar(fraction: float | None, *, is_scarce: bool) -> Cell:
    """Return a bar and a percentage; what is scarce is amber or red when it nearly runs out."""
    if fraction is None:
        return Cell("")
    full = round(min(1.0, fraction) * _BAR_WIDTH)
    color = _GREEN
    if is_scarce and fraction >= _NEARLY_FULL:
        color = _RED if fraction >= _FULL else _AMBER
    return Cell(f"{'█' * full}{'░' * (_BAR_WIDTH - full)} {fraction:4.0%}", color)


def _cpu(row: Row) -> float | None:
    cpus, cores = row["cpus"], row["maxprocs"]
    return None if cpus is None or not cores else cpus / cores


def _traffic(row: Row) -> float | None:
    received, sent = row["received_per_second"], row["sent_per_second"]
    return None if received is None or sent is None else received + sent


def _sum(rows: Sequence[Row], key: str) -> float | None:
    known = [row[key] for row in rows if row[key] is not None]
    return sum(known) if known else None


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if 0 < value < 10 else f"{value:,.0f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _size(value: float | None) -> str:
    return "" if value is None else size_text(int(value))


def _name_key(row: Row) -> tuple[int, str]:
    return len(row["name"]), row["name"]  # m2 comes before m10


MACHINE_COLUMNS: Sequence[Column] = (
    Column("MACHINE", lambda row: row["name"], _name_key, is_number=False),
    Column(
        "STATE",
        lambda row: Cell(row["state"], _STATE_COLORS.get(row["state"], _AMBER)),
        lambda row: _STATES.index(row["state"]),
        is_number=False,
    ),
    Column(
        "WHERE",
        lambda row: row["zone"] or row["addr"],
        lambda row: (row["zone"], row["addr"]),
        9,
        is_number=False,
    ),
    Column("TYPE", lambda row: row["kind"], lambda row: row["kind"], 8, is_number=False),
    Column("CORES", lambda row: str(row["maxprocs"] or ""), lambda row: row["maxprocs"], 7),
    Column("CPU", lambda row: _bar(_cpu(row), is_scarce=False), _cpu),
    Column(
        "MEMORY",
        lambda row: _bar(row["memory_used"], is_scarce=True),
        lambda row: row["memory_used"],
        1,
    ),
    Column(
        "DISK",
        lambda row: "" if row["disk_used"] is None else f"{row['disk_used']:.0%}",
        lambda row: row["disk_used"],
        10,
    ),
    Column("LOAD", lambda row: _load(row["load"]), lambda row: row["load"], 6),
    Column(
        "NOW", lambda row: _count(row["calls_in_flight"]), lambda row: row["calls_in_flight"], 3
    ),
    Column(
        "CALLS/S",
        lambda row: _number(row["calls_per_second"]),
        lambda row: row["calls_per_second"],
        2,
    ),
    Column("CALL", lambda row: _time(row["call_seconds"]), lambda row: row["call_seconds"], 4),
    Column("BYTES/S", lambda row: _size(_traffic(row)), _traffic, 5),
    Column("AGE", lambda row: duration_text(row["age"]), lambda row: row["age"], 11),
)
"""In the order in which they are shown; the first two always are."""

_METHOD_COLUMNS: Sequence[Column] = (
    Column("METHOD", lambda row: row["name"], lambda row: row["name"], is_number=False),
    Column("CALLS/S", lambda row: _number(row["per_second"]), lambda row: row["per_second"]),
    Column("NOW", lambda row: _count(row["in_flight"]), lambda row: row["in_flight"]),
    Column("MEDIAN", lambda row: _time(row["median"]), lambda row: row["median"], 2),
    Column("99 %", lambda row: _time(row["p99"]), lambda row: row["p99"], 3),
    Column("CALLS", lambda row: _count(row["begun"]), lambda row: row["begun"], 4),
    Column(
        "RAISED",
        lambda row: Cell(_count(row["raised"]), _RED) if row["raised"] else "",
        lambda row: row["raised"],
        5,
    ),
)


def _load(load: float | None) -> str:
    return "" if load is None else f"{load:.2f}"
