"""Text about a session for people: its resources, its driver and its cost."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence

from bigmachine.system import Instance

from .._values import duration_text
from ..reaper._leftovers import Holding
from ._table import spread, table


def describe_holding(holding: Holding) -> Iterator[str]:
    """Yield the lines that show a session's resources."""
    title = session_text(holding)
    if holding.age is not None:
        # Two clocks may differ by some seconds.
        title += f", began {duration_text(max(0.0, holding.age.total_seconds()))} ago"
    yield spread(title, cost_text(holding.cost_per_hour))
    yield f"  driver: {describe_driver(holding)}"
    machines = holding.machines
    # m2 comes before m10.
    yield from _table(sorted(machines, key=lambda machine: (len(label(machine)), label(machine))))
    yield from _table([resource for resource in holding.things if resource not in machines])


def describe_driver(holding: Holding) -> str:
    """Say who drives a session, whether that driver is alive, and if machines are immortal."""
    return _driver(holding) + ("; machines are immortal" if holding.is_immortal else "")


def session_text(holding: Holding) -> str:
    """Return the session's name and its system."""
    return f"{holding.short_name or 'no session'} on {holding.system}"


def label(resource: Instance) -> str:
    """Return the name of a machine, if it is known, or else the kind of the resource."""
    kind, name = resource.kind, resource.name.partition(".")[0]
    return name if kind == "instance" and name != resource.id else kind


def cost_text(cost_per_hour: float | None) -> str:
    """Return a cost per hour as text; empty if it is not known."""
    return "" if cost_per_hour is None else f"${cost_per_hour:.3f}/h"


def _driver(holding: Holding) -> str:
    if holding.driver is None:
        return f"on {holding.host}, may be alive" if holding.host else "unknown, may be alive"
    pid = f"pid {holding.driver.pid}"
    if holding.is_alive is not None:
        return f"{pid} of this computer, {'alive' if holding.is_alive else 'dead'}"
    if holding.host == socket.gethostname():
        return f"{pid} on {holding.host}, in another boot or container, may be alive"
    return f"{pid} on {holding.host or 'another computer'}, may be alive"


def _table(resources: Sequence[Instance]) -> Iterator[str]:
    costs = [cost_text(resource.cost_per_hour) for resource in resources]
    return table([*map(_row, resources)], right=costs)


def _row(resource: Instance) -> tuple[str, ...]:
    details = resource.details
    purchase = " ".join(filter(None, (details.get(key) for key in ("instance_type", "market"))))
    return (
        label(resource),
        resource.id or resource.address,
        purchase,
        resource.zone,
        details.get("state", ""),
    )
