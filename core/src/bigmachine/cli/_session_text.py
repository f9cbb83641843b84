"""Text about a session for people: its resources, its driver and its cost.

What a provider says is sanitized: anybody may have written it there.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence

from .._full_names import short_name
from .._values import duration_text, instance_kind
from ..errors import sanitize_line
from ..reaper._found_sessions import FoundSession
from ..system import Instance
from ._table import spread, table


def describe_session(session: FoundSession) -> Iterator[str]:
    """Yield the lines that show a session's resources."""
    title = session_text(session)
    if session.age is not None:
        # Two clocks may differ by some seconds.
        title += f", began {duration_text(max(0.0, session.age.total_seconds()))} ago"
    yield spread(title, cost_text(session.cost_per_hour))
    yield f"  driver: {describe_driver(session)}"
    machines = session.machines
    yield from _table(sorted(machines, key=_rank))
    yield from _table([resource for resource in session.resources if resource not in machines])


def describe_driver(session: FoundSession) -> str:
    """Say who drives a session, whether that driver is alive, and if machines are immortal."""
    return sanitize_line(_driver(session)) + (
        "; machines are immortal" if session.is_immortal else ""
    )


def session_text(session: FoundSession) -> str:
    """Return the session's name and its system."""
    return sanitize_line(f"{session.short_name or 'no session'} on {session.system}")


def label(resource: Instance) -> str:
    """Return the name of a machine, if it is known, or else the kind of the resource."""
    kind, name = resource.kind, short_name(resource.name)
    return sanitize_line(name if kind == "instance" and name != resource.id else kind)


def cost_text(cost_per_hour: float | None) -> str:
    """Return a cost per hour as text; empty if it is not known."""
    return "" if cost_per_hour is None else f"${cost_per_hour:.3f}/h"


def _driver(session: FoundSession) -> str:
    if session.driver is None:
        return f"on {session.host}, may be alive" if session.host else "unknown, may be alive"
    pid = f"pid {session.driver.pid}"
    if session.driver.command:
        pid += f" ({session.driver.command})"
    if session.is_alive is not None:
        return f"{pid} of this computer, {'alive' if session.is_alive else 'dead'}"
    if session.host == socket.gethostname():
        return f"{pid} on {session.host}, in another boot or container, may be alive"
    return f"{pid} on {session.host or 'another computer'}, may be alive"


def _table(resources: Sequence[Instance]) -> Iterator[str]:
    costs = [cost_text(resource.cost_per_hour) for resource in resources]
    return table([*map(_row, resources)], right=costs)


def _rank(machine: Instance) -> tuple[bool, int, str]:
    """Return where a machine comes: first what is billed in vain; m2 comes before m10."""
    name = label(machine)
    return not machine.details.get("stopped_and_billed"), len(name), name


def _row(resource: Instance) -> tuple[str, ...]:
    return (
        label(resource),
        resource.id or resource.address,
        instance_kind(resource),
        resource.zone or (resource.address if resource.id else ""),
        resource.details.get("state", ""),
    )
