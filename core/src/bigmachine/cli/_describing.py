"""How people are shown what a session has, and who drives it."""

from __future__ import annotations

import datetime
import itertools
import socket
from collections.abc import Iterator, Sequence

from bigmachine.system import Instance

from ..reaper._leftovers import FoundSession

_WIDTH = 80
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def describe_holding(holding: FoundSession) -> Iterator[str]:
    """Yield the lines that show what a session has."""
    yield spread(_title(holding), cost_text(holding.cost_per_hour))
    yield f"  driver: {describe_driver(holding)}"
    machines = holding.machines
    yield from _table(_sorted(machines))
    yield from _table([thing for thing in holding.resources if thing not in machines])


def describe_driver(holding: FoundSession) -> str:
    """Say who drives a session, whether that one lives, and whether machines outlive it."""
    return _driver(holding) + ("; machines are immortal" if holding.is_immortal else "")


def _driver(holding: FoundSession) -> str:
    if holding.driver is None:
        return f"on {holding.host}, may be alive" if holding.host else "unknown, may be alive"
    pid = f"pid {holding.driver.pid}"
    if holding.is_alive is not None:
        return f"{pid} of this computer, {'alive' if holding.is_alive else 'dead'}"
    if holding.host == socket.gethostname():
        return f"{pid} on {holding.host}, in another boot or container, may be alive"
    return f"{pid} on {holding.host or 'another computer'}, may be alive"


def label(thing: Instance) -> str:
    """Say which of its session's things it is: a machine by its name, if that is known."""
    kind, name = thing.kind, thing.name.partition(".")[0]
    return name if kind == "instance" and name != thing.id else kind


def spread(left: str, right: str) -> str:
    """Put one text at each end of the line."""
    return f"{left:{_WIDTH - len(right) - 2}}  {right}".rstrip()


def cost_text(cost_per_hour: float | None) -> str:
    """Say what something costs, if that is known."""
    return "" if cost_per_hour is None else f"${cost_per_hour:.3f}/h"


def count_text(number: int, word: str) -> str:
    """Say how many there are."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def _title(holding: FoundSession) -> str:
    age = f", began {_age(holding.age)} ago" if holding.age is not None else ""
    return f"{holding.short_name or 'no session'} on {holding.system}{age}"


def _sorted(machines: Sequence[Instance]) -> list[Instance]:
    """Sort m2 before m10."""
    return sorted(machines, key=lambda machine: (len(label(machine)), label(machine)))


def _table(things: Sequence[Instance]) -> Iterator[str]:
    """Align what is said of things, but for columns with nothing in them; costs go right."""
    columns = [column for column in zip(*map(_row, things), strict=True) if any(column)]
    widths = [max(map(len, column)) for column in columns]
    for thing, row in zip(things, zip(*columns, strict=True), strict=True):
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield spread("  " + "  ".join(cells).rstrip(), cost_text(thing.cost_per_hour))


def _row(thing: Instance) -> tuple[str, ...]:
    details = thing.details
    bought = " ".join(filter(None, (details.get(key) for key in ("instance_type", "market"))))
    return label(thing), thing.id or thing.address, bought, thing.zone, details.get("state", "")


def _age(age: datetime.timedelta) -> str:
    """Say it in its two largest units."""
    seconds = max(0, int(age.total_seconds()))
    for (unit, size), (below, small) in itertools.pairwise(_UNITS):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // small} {below}"
    return f"{seconds} s"
