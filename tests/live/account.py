"""A real account at a cloud, as a run of the tests sees it; there is a module for each cloud."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import trio

from bigmachine.boot import Driver
from bigmachine.cloud import CloudSystem, poll_intervals
from bigmachine.errors import UsageError
from bigmachine.session._loop_thread import LoopThread

T = TypeVar("T")
SystemT = TypeVar("SystemT", bound=CloudSystem)

RUN = "test-run"
"""The tag, or label, of all resources of a run; its value is the run's name. Names of tags that
begin with ``bigmachine`` are reserved."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known before money is spent; ``price`` is the highest one of a machine's hour."""

    account: str
    place: str
    machines: str
    network: str
    price: float | None


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource in an account. ``run``, ``session`` and ``driver`` are "" where it has no tag."""

    id: str
    run: str = ""
    session: str = ""
    driver: str = ""
    is_billed: bool = True

    @property
    def is_failure(self) -> bool:
        """Whether a run must not leave it: all but what is free and whose driver was killed."""
        return self.is_billed or not is_dead(self.driver)


Resources = Mapping[str, Resource]
"""Resources by id."""


class Account(abc.ABC, Generic[SystemT]):
    """The resources in one place of an account. Any thread may use it, trio's as well.

    A cloud's subclass also describes its session's plan in `facts`.
    """

    system_class: ClassVar[type[CloudSystem]]
    defaults: ClassVar[Mapping[str, str]]
    """The options of a run, if ``-o`` has no others."""
    tags_option: ClassVar[str]
    """The name of the option that tags a session's resources."""

    def __init__(self, system: SystemT, *, network: str, run: str) -> None:
        """``system`` says where it is; its connections are not used."""
        self.options = system.options
        self.run = run
        self.network = network
        self._loop = LoopThread(contextlib.nullcontext())

    # -- what a cloud's subclass overrides ------------------------------------------------

    @staticmethod
    @abc.abstractmethod
    async def facts(system: SystemT) -> Facts:
        """Describe the account and the plan of a system that is set up."""

    @abc.abstractmethod
    async def find(self) -> Iterable[Resource]:
        """Return all resources of the kinds that sessions create."""

    @abc.abstractmethod
    async def create_foreign(self) -> str | None:
        """Create a free resource of no session; None if that is not permitted."""

    @abc.abstractmethod
    async def delete_foreign(self, id: str) -> None:
        """Delete what `create_foreign` has created."""

    @abc.abstractmethod
    def is_new(self, id: str) -> bool:
        """Whether lists may not have it yet."""

    @abc.abstractmethod
    async def disconnect(self) -> None:
        """Close all connections."""

    # -- what a run calls -----------------------------------------------------------------

    def resources(self) -> Resources:
        """Return all resources of the kinds that sessions create, by id."""
        return {one.id: one for one in self._wait(self.find)}

    def make_foreign(self) -> str | None:
        """Create a resource of no session; None if that is not permitted."""
        return self._wait(self.create_foreign)

    def free_foreign(self, id: str) -> None:
        """Delete a resource of no session."""
        self._wait(lambda: self.delete_foreign(id))

    def has(self, id: str) -> bool:
        """Whether there is this resource; a new one may not be listed yet."""
        return self._wait(lambda: self._has(id))

    def close(self) -> None:
        """Close all connections."""
        self._wait(self.disconnect)
        self._loop.close()

    def _wait(self, ask: Callable[[], Awaitable[T]]) -> T:
        return self._loop.portal.submit(ask).result()

    async def _has(self, id: str) -> bool:
        for delay in poll_intervals():
            if any(one.id == id for one in await self.find()):
                return True
            if not self.is_new(id):
                return False
            await trio.sleep(delay)
        raise AssertionError  # the polls do not end


async def look(system: SystemT, describe: Callable[[SystemT], Awaitable[Facts]]) -> Facts:
    """Check the options and permissions, as every session does; nothing is created."""
    try:
        await system.setup()
        return await describe(system)
    finally:
        await system.shutdown()


def highest(prices: Iterable[float | None]) -> float | None:
    """Return the highest of some prices; None if one is unknown."""
    all_prices = [*prices]
    known = [price for price in all_prices if price is not None]
    return max(known) if known and len(known) == len(all_prices) else None


def is_dead(driver: str) -> bool:
    """Whether a driver, as a tag names it, is known to be dead."""
    with contextlib.suppress(UsageError):
        return Driver.parse(driver).is_alive() is False
    return False
