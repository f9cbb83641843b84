"""What the driver's session has at a provider: its instances, and what is freed with them."""

from __future__ import annotations

import abc
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

from ..._events import Event, MachineChanged
from ..._full_names import short_name
from ..._values import Instance
from ...errors import MachineStopped, StopReason
from ...system import VmOptions
from ..errors._cloud_error import CloudError
from ..errors._note_errors import note_errors
from ._immortal import warn_of_end, warn_of_start

# A machine that the driver ends has ended its services before it is stopped.
_BY_DRIVER = (StopReason.SHUTDOWN, StopReason.CANCELLED, StopReason.COST, StopReason.IDLE)


class SessionVm(Protocol):
    """An instance of a session, as a backend describes it."""

    @property
    def id(self) -> str: ...

    @property
    def has_ended(self) -> bool: ...


VmT = TypeVar("VmT", bound=SessionVm)


class SessionResources(abc.ABC, Generic[VmT]):
    """The resources of this driver's session. A base class: ``free`` terminates and deletes them.

    All methods that a backend overrides may raise its provider's `CloudError`.
    """

    system: ClassVar[str]
    """The system's name, like ``"ec2"``: messages are logged to ``bigmachine.ec2``."""
    firewall: ClassVar[str] = "firewall rule"
    """What immortal instances keep with them, for messages."""

    def __init__(self, options: VmOptions) -> None:
        self.session = ""
        """The session's name; set while it may have resources."""
        self.ids: dict[str, str] = {}
        """The ids of its live instances, by machine name."""
        self.unconfirmed: set[str] = set()
        """The ids of instances of failed starts that may still run: see `Launch.undo`."""
        self._options = options
        self._logger = logging.getLogger(f"bigmachine.{self.system}")
        self._ended: set[str] = set()  # short names of machines that the driver has ended

    # -- what a backend overrides ---------------------------------------------------------

    @abc.abstractmethod
    async def find(self) -> Sequence[VmT]:
        """Return the session's live instances, by their tags: also those without a response."""

    @abc.abstractmethod
    async def describe(self, id: str) -> VmT | None:
        """Return an instance of the session as it is now; None if there is none."""

    @abc.abstractmethod
    async def terminate(self, ids: Collection[str]) -> None:
        """Terminate instances; return when all are gone. See `ended`."""

    @abc.abstractmethod
    async def find_ours(self, instance: Instance) -> str:
        """Return the id of an instance, by its own id or its name; "" unless it is a session's."""

    @abc.abstractmethod
    async def free_leftover(self, resource: Instance) -> bool:
        """Free one of what `System.instances` lists beside instances; else return False."""

    @abc.abstractmethod
    async def free_leftovers(self) -> None:
        """Delete all that instances use, also what is only known by its tags.

        What can't be listed or deleted keeps nothing else from being deleted: see `note_errors`.
        """

    async def free_requests(self) -> None:
        """Cancel what might launch more instances. There is nothing by default."""

    # -- what a system calls --------------------------------------------------------------

    def add(self, ids: Mapping[str, str]) -> None:
        """Take note of new instances: ids by machine name. A warning tells of immortal ones."""
        self.ids.update(ids)
        if self._options.immortal and ids:
            warn_of_start(
                ids,
                logger=self._logger,
                system=self.system,
                session=self.session,
                lifetime=self._options.lifetime or 0.0,
            )

    def id_of(self, instance: Instance) -> str:
        """Return an instance's id; "" if neither it nor the session has one."""
        return instance.id or self.ids.get(instance.name, "")

    def is_immortal(self, instance: Instance) -> bool:
        """Whether `System.stop` leaves it running: an immortal one of this session."""
        return self._options.immortal and instance.name in self.ids

    async def stop(self, instance: Instance) -> None:
        """Terminate an instance, or free another resource, and wait for it: for `System.stop`.

        Immortal instances of this session are left running.
        """
        if self.is_immortal(instance) or await self.free_leftover(instance):
            return
        id = self.id_of(instance)
        if id not in self.ids.values():
            id = await self.find_ours(instance)
        if id:
            await self.terminate([id])
        self.ids.pop(instance.name, None)

    def note(self, event: Event) -> None:
        """Take note of the machines that the driver has ended: for `System.event`."""
        error = event.error if isinstance(event, MachineChanged) else None
        if isinstance(error, MachineStopped) and error.reason in _BY_DRIVER:
            self._ended.add(error.machine)

    @property
    def ended(self) -> set[str]:
        """The ids of instances whose operating systems need no shutdown.

        Their services have ended, with their ``teardown``: before `System.stop`, the session asks
        a machine for that. All others get a signal when their system shuts down, and end in good
        order then; leftovers do, too, for what they run is unknown. Nor is it skipped for the
        user's own units, which may have something to write at their end.
        """
        if self._options.units:
            return set()
        return {id for name, id in self.ids.items() if short_name(name) in self._ended}

    async def free(self) -> None:
        """Terminate and delete all, for `System.shutdown`. Immortal instances are left.

        So is all that they use. If something else than instances can't be freed, the rest is
        freed first. Raises the first error; then the session may have resources still, and this
        can be called again.
        """
        errors: list[CloudError] = []
        with note_errors(errors):
            await self.free_requests()
        kept = await self._immortals() if self._options.immortal else {}
        known = {*self.ids.values(), *self.unconfirmed} - {*kept.values()}
        try:
            found = {vm.id for vm in await self.find()}
        except CloudError:
            await self.terminate(known)
            raise
        await self.terminate(known | found - {*kept.values()})
        self.ids.clear()
        self.unconfirmed.clear()
        self._ended.clear()
        if kept:
            warn_of_end(
                kept,
                logger=self._logger,
                system=self.system,
                session=self.session,
                lifetime=self._options.lifetime or 0.0,
                firewall=self.firewall,
            )
        else:
            with note_errors(errors):
                await self.free_leftovers()
        if errors:
            raise errors[0]
        self.session = ""

    async def _immortals(self) -> dict[str, str]:
        """Return the ids of the machines that outlive the session, by name."""
        vms = {name: await self.describe(id) for name, id in self.ids.items()}
        return {name: vm.id for name, vm in vms.items() if vm and not vm.has_ended}
