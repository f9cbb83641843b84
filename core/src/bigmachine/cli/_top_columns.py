"""The columns that `bigmachine top` has: what each shows of a machine or a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._values import duration_text, size_text

Row = Mapping[str, Any]  # Any: a `MachineStatus` or a `MethodStatus`, which came as JSON

STATES = ("running", "booting", "launched", "stopped")
GREEN, AMBER, RED = "32", "33", "31"

_STATE_COLORS = {"running": GREEN, "stopped": RED}
_FULL, _NEARLY_FULL = 0.95, 0.8  # of memory and disk; a machine is unhealthy from 95 % on
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

    def cell(self, row: Row) -> Cell:
        """Return what it shows of a row."""
        shown = self.show(row)
        return shown if isinstance(shown, Cell) else Cell(shown)


def _bar(fraction: float | None, *, is_scarce: bool) -> Cell:
    """Return a bar and a percentage; what is scarce is amber or red when it nearly runs out."""
    if fraction is None:
        return Cell("")
    full = round(min(1.0, fraction) * _BAR_WIDTH)
    color = GREEN
    if is_scarce and fraction >= _NEARLY_FULL:
        color = RED if fraction >= _FULL else AMBER
    return Cell(f"{'█' * full}{'░' * (_BAR_WIDTH - full)} {fraction:4.0%}", color)


def _cpu(row: Row) -> float | None:
    cpus, cores = row["cpus"], row["maxprocs"]
    return None if cpus is None or not cores else cpus / cores


def _traffic(row: Row) -> float | None:
    received, sent = row["received_per_second"], row["sent_per_second"]
    return None if received is None or sent is None else received + sent


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def number_text(value: float | None) -> str:
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
        lambda row: Cell(row["state"], _STATE_COLORS.get(row["state"], AMBER)),
        lambda row: STATES.index(row["state"]),
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
        "GPU", lambda row: _bar(row["gpu_used"], is_scarce=False), lambda row: row["gpu_used"], 1
    ),
    Column(
        "GPU MEM",
        lambda row: _percentage(row["gpu_memory_used"]),
        lambda row: row["gpu_memory_used"],
        3,
    ),
    Column(
        "DISK",
        lambda row: _percentage(row["disk_used"]),
        lambda row: row["disk_used"],
        10,
    ),
    Column("LOAD", lambda row: _load(row["load"]), lambda row: row["load"], 6),
    Column(
        "NOW", lambda row: _count(row["calls_in_flight"]), lambda row: row["calls_in_flight"], 3
    ),
    Column(
        "CALLS/S",
        lambda row: number_text(row["calls_per_second"]),
        lambda row: row["calls_per_second"],
        2,
    ),
    Column("CALL", lambda row: _time(row["call_seconds"]), lambda row: row["call_seconds"], 4),
    Column("BYTES/S", lambda row: _size(_traffic(row)), _traffic, 5),
    Column("AGE", lambda row: duration_text(row["age"]), lambda row: row["age"], 11),
)
"""In the order in which they are shown; the first two always are."""

METHOD_COLUMNS: Sequence[Column] = (
    Column("METHOD", lambda row: row["name"], lambda row: row["name"], is_number=False),
    Column("CALLS/S", lambda row: number_text(row["per_second"]), lambda row: row["per_second"]),
    Column("NOW", lambda row: _count(row["in_flight"]), lambda row: row["in_flight"]),
    Column("MEDIAN", lambda row: _time(row["median"]), lambda row: row["median"], 2),
    Column("99 %", lambda row: _time(row["p99"]), lambda row: row["p99"], 3),
    Column("CALLS", lambda row: _count(row["begun"]), lambda row: row["begun"], 4),
    Column(
        "RAISED",
        lambda row: Cell(_count(row["raised"]), RED) if row["raised"] else "",
        lambda row: row["raised"],
        5,
    ),
)


def _percentage(fraction: float | None) -> str:
    return "" if fraction is None else f"{fraction:.0%}"


def _load(load: float | None) -> str:
    return "" if load is None else f"{load:.2f}"
