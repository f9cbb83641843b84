"""How machines show themselves: as a line of text, and in notebooks as a table.

All of it is known here: no machine is asked, so it never waits and never fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from .._values import Instance, State, dollar_text, instance_kind
from ..errors import sanitize_line

_HEADER = ("machine", "state", "address", "id", "type", "zone", "cores", "$/hour", "")
_NUMBERS = ("cores", "$/hour")

_ORDER = (State.RUNNING, State.STARTING, State.UNSTARTED, State.STOPPED)


class ShownMachine(Protocol):
    """What both kinds of machine have; see `AsyncMachine`."""

    @property
    def name(self) -> str: ...
    @property
    def instance(self) -> Instance: ...
    @property
    def owned(self) -> bool: ...
    @property
    def maxprocs(self) -> int: ...
    @property
    def state(self) -> State: ...
    @property
    def error(self) -> BaseException | None: ...


def machine_repr(machine: ShownMachine) -> str:
    """Return what a machine is, for people: its class, name, state and place."""
    instance = machine.instance
    place = " in ".join(filter(None, [instance_kind(instance), instance.zone]))
    cores = _cores(machine)
    parts = [
        f"{machine.name} {machine.state} at {instance.address}",
        f"id {instance.id}" if instance.id else "",
        place,
        "" if cores is None else f"{cores} core{'s' * (cores != 1)}",
        "" if machine.owned else "not owned",
    ]
    text = ", ".join(filter(None, parts))
    if (reason := why_stopped(machine)) is not None:
        text += f": {reason}"
    return f"<{type(machine).__name__} {sanitize_line(text)}>"


def machines_html(machines: Sequence[ShownMachine]) -> str:
    """Return a table of machines, a row for each."""
    from ._html import table

    return table(_HEADER, [_row(machine) for machine in machines], right=_NUMBERS)


def counts_text(machines: Iterable[ShownMachine]) -> str:
    """Return how many machines are in each state: ``"5 machines: 3 RUNNING, 2 STARTING"``."""
    states = [machine.state for machine in machines]
    total = f"{len(states) or 'no'} machine{'s' * (len(states) != 1)}"
    if len(set(states)) == 1:
        return f"{total} {states[0]}"
    counts = [f"{states.count(state)} {state}" for state in _ORDER if state in states]
    return f"{total}: {', '.join(counts)}" if counts else total


def why_stopped(machine: ShownMachine) -> str | None:
    """Return the first line of why a machine stopped, without its name; None if it has not."""
    if machine.error is None:
        return None
    line = str(machine.error).partition("\n")[0]
    return line.removeprefix(f"{machine.name} ").removeprefix("stopped: ")


def _cores(machine: ShownMachine) -> int | None:
    """Return how many it has; None if that may not be known yet, or is of no use any more."""
    return machine.maxprocs if machine.state == State.RUNNING else None


def _row(machine: ShownMachine) -> list[str]:
    from ._html import AMBER, GREEN, RED, dim, dot, escaped

    colors = {State.RUNNING: GREEN, State.STOPPED: RED}
    instance, cores = machine.instance, _cores(machine)
    price = instance.cost_per_hour
    note = why_stopped(machine) or ("" if machine.owned else "not owned")
    return [
        f"<b>{escaped(machine.name)}</b>",
        dot(colors.get(machine.state, AMBER), machine.state),
        escaped(instance.address),
        escaped(instance.id),
        escaped(instance_kind(instance)),
        escaped(instance.zone),
        "" if cores is None else f"{cores}",
        "" if price is None or machine.state == State.STOPPED else escaped(dollar_text(price)),
        dim(note) if note else "",
    ]
