"""What the driver's session has at AWS: its instances, and all else that is tagged with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bigmachine import MachineChanged
from bigmachine.errors import MachineStopped, StopReason
from bigmachine.system import Event, Instance

from ._errors import AwsError
from ._immortal import warn_of_end
from ._options import Ec2Options

if TYPE_CHECKING:
    from ._leftovers import ResourceKind
    from ._region import Region

# A machine that the driver ends has ended its services before it is stopped.
_BY_DRIVER = (StopReason.SHUTDOWN, StopReason.CANCELLED, StopReason.COST, StopReason.IDLE)


class SessionResources:
    """The resources of one session, of this driver's; `free` terminates and deletes them."""

    def __init__(self, options: Ec2Options) -> None:
        self.session = ""
        """The session's name; set while it may have resources."""
        self.ids: dict[str, str] = {}
        """The ids of its live instances, by machine name."""
        self.unconfirmed: set[str] = set()
        """The ids of instances of failed starts that may still run."""
        self._options = options
        self._ended: set[str] = set()  # short names of machines that the driver has ended

    def id_of(self, instance: Instance) -> str:
        """Return an instance's id; "" if neither it nor the session has one."""
        return instance.id or self.ids.get(instance.name, "")

    def note(self, event: Event) -> None:
        """Take note of the machines that the driver has ended."""
        error = event.error if isinstance(event, MachineChanged) else None
        if isinstance(error, MachineStopped) and error.reason in _BY_DRIVER:
            self._ended.add(error.machine)

    async def terminate(self, region: Region, ids: Iterable[str]) -> None:
        """Terminate instances; return when all are terminated. Raises `AwsError`."""
        await region.vms.terminate(ids, done=self._done())

    async def free(self, region: Region, *, group_id: str) -> None:
        """Terminate and delete all, also what is only known by its tags.

        ``group_id`` is the session's security group, if it is known. Immortal instances are left,
        and all that they use. If something else than instances can't be listed, the rest is freed
        first. Raises the first `AwsError`.
        """
        from ._leftovers import FREED_AFTER_INSTANCES, FREED_BEFORE_INSTANCES

        errors: list[AwsError] = []

        async def free(*kinds: ResourceKind, known: str = "") -> None:
            found = []
            for kind in kinds:
                with _noted(errors):
                    found += await region.leftovers.find([kind], session=self.session)
            with _noted(errors):
                await region.leftovers.free({*(one.id for one in found), known} - {""})

        if "spot" in self._options.markets:
            await free(*FREED_BEFORE_INSTANCES)
        kept = await self._immortals(region) if self._options.immortal else {}
        known = {*self.ids.values(), *self.unconfirmed} - {*kept.values()}
        try:
            found = {vm.id for vm in await region.vms.find(session=[self.session])}
        except AwsError:
            await self.terminate(region, known)
            raise
        await self.terminate(region, known | found - {*kept.values()})
        self.ids.clear()
        self.unconfirmed.clear()
        self._ended.clear()
        if kept:
            warn_of_end(kept, session=self.session, lifetime=self._options.lifetime or 0.0)
        else:
            # The security group is searched for, too: the response to its creation may be lost.
            await free(*FREED_AFTER_INSTANCES, known=group_id)
        if errors:
            raise errors[0]
        self.session = ""

    async def _immortals(self, region: Region) -> dict[str, str]:
        """Return the ids of the machines that outlive the session, by name."""
        vms = {name: await region.vms.await_ours(id) for name, id in self.ids.items()}
        return {name: vm.id for name, vm in vms.items() if vm and not vm.has_ended}

    def _done(self) -> set[str]:
        """Return the ids of instances whose operating systems need no shutdown.

        Their services have ended, with their ``teardown``: before `System.stop`, the session asks
        a machine for that. All others get a signal when their system shuts down, and end in good
        order then; so it is for leftovers, of which nobody knows what they do. Nor is it skipped
        for the user's own units, which may have something to write at their end.
        """
        if self._options.units:
            return set()
        return {id for name, id in self.ids.items() if name.partition(".")[0] in self._ended}


@contextlib.contextmanager
def _noted(errors: list[AwsError]) -> Iterator[None]:
    """Add an error of AWS to the list, and go on."""
    try:
        yield
    except AwsError as error:
        errors.append(error)
