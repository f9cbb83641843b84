"""How machines show themselves: as a line of text, and in notebooks as a table.

All of it is known here: no machine is asked, so it never waits and never fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .._values import State, dollar_text, instance_kind
from ..errors import sanitize_line

if TYPE_CHECKING:
    from ._controller import Controller

_HEADER = ("machine", "state", "address", "id", "type", "zone", "cores", "$/hour", "")
_NUMBERS = ("cores", "$/hour")

_ORDER = (State.RUNNING, State.STARTING, State.UNSTARTED, State.STOPPED)


def machine_repr(machine: Controller, *, kind: str) -> str:
    """Return what a machine is, as an object of the class ``kind``: its name, state and place."""
    instance = machine.instance
    place = " in ".join(filter(None, [instance_kind(instance), instance.zone]))
    cores = machine.maxprocs
    parts = [
        f"{machine.name} {machine.lifecycle.state} at {instance.address}",
        f"id {instance.id}" if instance.id else "",
        place,
        "" if cores is None else f"{cores} core{'s' * (cores != 1)}",
        "" if machine.owned else "not owned",
    ]
    text = ", ".join(filter(None, parts))
    if (reason := why_stopped(machine)) is not None:
        text += f": {reason}"
    return f"<{kind} {sanitize_line(text)}>"


def machines_html(machines: Sequence[Controller]) -> str:
    """Return a table of machines, a row for each."""
    from ._html import table

    return table(_HEADER, [_row(machine) for machine in machines], right=_NUMBERS)


def counts_text(machines: Iterable[Controller]) -> str:
    """Return how many machines are in each state: ``"5 machines: 3 RUNNING, 2 STARTING"``."""
    states = [machine.lifecycle.state for machine in machines]
    total = f"{len(states) or 'no'} machine{'s' * (len(states) != 1)}"
    if len(set(states)) == 1:
        return f"{total} {states[0]}"
    counts = [f"{states.count(state)} {state}" for state in _ORDER if state in states]
    return f"{total}: {', '.join(counts)}" if counts else total


def why_stopped(machine: Controller) -> str | None:
    """Return the first line of why a machine stopped, without its name; None if it has not."""
    if machine.lifecycle.error is None:
        return None
    line = str(machine.lifecycle.error).partition("\n")[0]
    return line.removeprefix(f"{machine.name} ").removeprefix("stopped: ")


def _row(machine: Controller) -> list[str]:
    from ._html import AMBER, GREEN, RED, dim, dot, escaped

    colors = {State.RUNNING: GREEN, State.STOPPED: RED}
    instance, cores = machine.instance, machine.maxprocs
    price, state = instance.cost_per_hour, machine.lifecycle.state
    note = why_stopped(machine) or ("" if machine.owned else "not owned")
    return [
        f"<b>{escaped(machine.name)}</b>",
        dot(colors.get(state, AMBER), state),
        escaped(instance.address),
        escaped(instance.id),
        escaped(instance_kind(instance)),
        escaped(instance.zone),
        "" if cores is None else f"{cores}",
        "" if price is None else escaped(dollar_text(price)),
        dim(note) if note else "",
    ]
