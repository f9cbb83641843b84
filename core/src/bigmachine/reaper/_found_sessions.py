"""The resources that sessions have at their providers, and which of them are leftovers."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from .._driver import Driver
from .._full_names import SESSION_SUFFIX
from ..errors import BigmachineError, IncompleteListError, UsageError
from ..system import Instance, System

_OLD = datetime.timedelta(days=1)
_LIST_TIMEOUT = 90.0  # a provider that is slow, or whose requests are tried again


@dataclass(frozen=True, slots=True)
class FoundSession:
    """One session on one system: its resources, in the order in which they can be freed.

    ``name`` is empty for resources of no session. ``driver`` and ``started`` are None if they
    are unknown. ``is_alive`` tells whether the driver is alive; None if that is unknown.
    ``is_complete`` tells whether these are certainly all of its resources.
    """

    system: str
    name: str
    resources: tuple[Instance, ...]
    driver: Driver | None
    is_alive: bool | None
    started: datetime.datetime | None
    is_complete: bool = True

    @property
    def short_name(self) -> str:
        """The session's name as people say it."""
        return self.name.removesuffix(SESSION_SUFFIX)

    @property
    def machines(self) -> list[Instance]:
        """Those of its resources that compute."""
        return [one for one in self.resources if one.kind == "instance"]

    @property
    def age(self) -> datetime.timedelta | None:
        """How long ago the session began."""
        return None if self.started is None else datetime.datetime.now(datetime.UTC) - self.started

    @property
    def cost_per_hour(self) -> float | None:
        """The sum of the known prices, in US dollars."""
        costs = [cost for one in self.resources if (cost := one.cost_per_hour) is not None]
        return sum(costs) if costs else None

    @property
    def host(self) -> str:
        """The driver's computer, as it calls itself; empty if nothing says."""
        return next((host for one in self.resources if (host := one.details.get("host"))), "")

    @property
    def is_immortal(self) -> bool:
        """Whether some of its machines are meant to outlive it."""
        return any(machine.details.get("immortal") for machine in self.machines)

    @property
    def is_billed_in_vain(self) -> bool:
        """Whether some of its machines have stopped, and are billed all the same."""
        return any(machine.details.get("stopped_and_billed") for machine in self.machines)

    @property
    def may_be_in_use(self) -> bool:
        """Whether a driver may still need its resources, so that only a yes frees them."""
        may_have_machines = bool(self.machines) or not self.is_complete
        return bool(self.is_alive or (self.is_alive is None and may_have_machines))

    @property
    def orphaned(self) -> str:
        """Why its resources are surely leftovers; empty if they may be in use."""
        if not self.name or self.is_alive or self.is_immortal:
            return ""
        if self.is_alive is False:
            return "its driver is dead"
        has_no_machine = self.is_complete and not self.machines
        if has_no_machine and self.age is not None and self.age > _OLD:
            return "it has no machine, and began more than a day ago"
        return ""


async def find_sessions(hooks: System, name: str) -> tuple[list[FoundSession], str]:
    """Ask a system for all resources; return them by session, the oldest first.

    Sessions whose machines have stopped, and are billed all the same, come before all others.
    The text says why that may not be all; it is empty otherwise.
    """
    resources: Sequence[Instance] = ()
    missing = ""
    with trio.move_on_after(_LIST_TIMEOUT) as scope:
        try:
            resources = await hooks.instances()
        except IncompleteListError as error:
            resources, missing = error.found, str(error)
    if scope.cancelled_caught:
        raise BigmachineError(f"no answer within {_LIST_TIMEOUT:g} s")
    sessions: dict[str, list[Instance]] = {}
    for resource in resources:
        sessions.setdefault(resource.session, []).append(resource)
    found = [
        _found_session(name, session, those, is_complete=not missing)
        for session, those in sessions.items()
    ]
    latest = datetime.datetime.max.replace(tzinfo=datetime.UTC)
    found.sort(key=lambda one: (not one.is_billed_in_vain, one.started or latest, one.name))
    return found, missing


def _found_session(
    system: str, name: str, resources: Sequence[Instance], *, is_complete: bool
) -> FoundSession:
    drivers = {_driver_of(resource) for resource in resources}
    lives = {driver.is_alive() if driver else None for driver in drivers}
    return FoundSession(
        system=system,
        name=name,
        resources=tuple(resources),
        driver=next((driver for driver in drivers if driver), None),
        is_alive=True if True in lives else None if None in lives else False,
        started=min((time for one in resources if (time := _started(one))), default=None),
        is_complete=is_complete,
    )


def _driver_of(resource: Instance) -> Driver | None:
    try:
        return Driver.parse(
            resource.details.get("driver", ""), host=resource.details.get("host", "")
        )
    except UsageError:
        return None


def _started(resource: Instance) -> datetime.datetime | None:
    try:
        started = datetime.datetime.fromisoformat(resource.details.get("started", ""))
    except ValueError:
        return None
    return started if started.tzinfo else started.replace(tzinfo=datetime.UTC)
