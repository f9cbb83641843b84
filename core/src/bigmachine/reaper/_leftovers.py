"""What sessions have at their providers, and whether it is surely left behind."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import trio

from bigmachine._driver import Driver
from bigmachine.errors import BigmachineError, NotSupportedError, UsageError
from bigmachine.system import Capability, Instance, System
from bigmachine.system._entrypoints import (
    choose_system,
    installed_systems,
    load_observers,
    load_system,
)
from bigmachine.system._plugins import Plugins

T = TypeVar("T")

SUFFIX = ".bigmachine"
"""What the names of all sessions end with, and people leave out."""

_OLD = datetime.timedelta(days=1)
_LIST_TIMEOUT = 90.0  # a provider that is slow, or whose requests are tried again
_CLOSE_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Holding:
    """What one session has on one system, in the order in which it can be freed.

    ``driver`` is None, and ``started`` too, where nothing says them. ``is_alive`` tells
    whether the driver lives, None if that isn't known.
    """

    system: str
    session: str
    things: tuple[Instance, ...]
    driver: Driver | None
    is_alive: bool | None
    started: datetime.datetime | None

    @property
    def short_name(self) -> str:
        """The session's name as people say it."""
        return self.session.removesuffix(SUFFIX)

    @property
    def machines(self) -> list[Instance]:
        """Those of its things that compute."""
        return [thing for thing in self.things if thing.kind == "instance"]

    @property
    def age(self) -> datetime.timedelta | None:
        """How long ago the session began."""
        return None if self.started is None else datetime.datetime.now(datetime.UTC) - self.started

    @property
    def cost_per_hour(self) -> float | None:
        """What is known of its cost, in US dollars."""
        costs = [thing.cost_per_hour for thing in self.things if thing.cost_per_hour is not None]
        return sum(costs) if costs else None

    @property
    def host(self) -> str:
        """The driver's computer, as it calls itself; empty if nothing says."""
        return next((host for thing in self.things if (host := thing.details.get("host"))), "")

    @property
    def is_immortal(self) -> bool:
        """Whether its user wants machines of it to outlive it."""
        return any(machine.details.get("immortal") for machine in self.machines)

    @property
    def orphaned(self) -> str:
        """Why it surely is of no use to anybody; empty if it may be."""
        if not self.session or self.is_alive or self.is_immortal:
            return ""
        if self.is_alive is False:
            return "its driver is dead"
        if not self.machines and self.age is not None and self.age > _OLD:
            return "it has no machine, and began more than a day ago"
        return ""


@contextlib.asynccontextmanager
async def opened(
    name: str, *, options: Mapping[str, str], profile: str | None
) -> AsyncIterator[System]:
    """Make a system to ask and to free with: gives its hooks. It isn't set up."""
    system = choose_system(name, profile=profile, texts=options)
    if Capability.INSTANCES not in system.capabilities:
        raise NotSupportedError(
            f"system {name!r} has no 'instances' capability: it can't list what it has made"
        )
    hooks = Plugins(system, installed=load_observers()).hooks
    try:
        yield hooks
    finally:
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            await hooks.shutdown()


async def holdings(hooks: System, name: str) -> list[Holding]:
    """Ask a system what there is, and sort it by session, the oldest first."""
    with trio.move_on_after(_LIST_TIMEOUT) as scope:
        things = await hooks.instances()
    if scope.cancelled_caught:
        raise BigmachineError(f"no answer within {_LIST_TIMEOUT:g} s")
    sessions: dict[str, list[Instance]] = {}
    for thing in things:
        sessions.setdefault(thing.session, []).append(thing)
    found = [_holding(name, session, things) for session, things in sessions.items()]
    latest = datetime.datetime.max.replace(tzinfo=datetime.UTC)
    return sorted(found, key=lambda holding: (holding.started or latest, holding.session))


def systems_to_ask(named: Sequence[str], options: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the systems that are asked, by default all that can list; and what is broken.

    Raises `UsageError` for options of nobody knows which system.
    """
    if options and len(named) != 1:
        raise UsageError("-o is an option of one system: name it")
    if named:
        return [*dict.fromkeys(named)], []
    able, broken = [], []
    for name in dict.fromkeys(entry.name for entry in installed_systems()):
        try:
            if Capability.INSTANCES in load_system(name).capabilities:
                able.append(name)
        except BigmachineError as exc:
            broken.append(str(exc))
    if not able:
        broken.append("no installed system can list what it has made")
    return able, broken


def run_async(main: Callable[[], Awaitable[T]]) -> T:
    """Run ``main`` in trio; a Ctrl-C is a plain `KeyboardInterrupt`, in whatever task it came."""
    try:
        return trio.run(main)
    except* KeyboardInterrupt:
        pass
    raise KeyboardInterrupt


def _holding(system: str, session: str, things: Sequence[Instance]) -> Holding:
    drivers = {_driver_of(thing) for thing in things}
    lives = {driver.is_alive() if driver else None for driver in drivers}
    return Holding(
        system=system,
        session=session,
        things=tuple(things),
        driver=next((driver for driver in drivers if driver), None),
        is_alive=True if True in lives else None if None in lives else False,
        started=min((time for thing in things if (time := _started(thing))), default=None),
    )


def _driver_of(thing: Instance) -> Driver | None:
    try:
        return Driver.parse(thing.details.get("driver", ""), host=thing.details.get("host", ""))
    except UsageError:
        return None


def _started(thing: Instance) -> datetime.datetime | None:
    try:
        started = datetime.datetime.fromisoformat(thing.details.get("started", ""))
    except ValueError:
        return None
    return started if started.tzinfo else started.replace(tzinfo=datetime.UTC)
