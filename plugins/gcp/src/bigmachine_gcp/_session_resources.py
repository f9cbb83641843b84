"""What the driver's session has at Google: its instances, disks and firewall rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bigmachine.system import Instance

from ._immortal import warn_of_end
from ._options import GcpOptions

if TYPE_CHECKING:
    from ._project import Project
    from ._vms import Vm


class SessionResources:
    """The resources of one session, of this driver's; `free` deletes them."""

    def __init__(self, options: GcpOptions) -> None:
        self.session = ""
        """The session's name; set while it may have resources."""
        self.zones: Sequence[str] = ()
        """The zones that it launches in."""
        self.ids: dict[str, str] = {}
        """The ids of its live instances, by machine name: see `Vm`."""
        self._options = options

    def add(self, vms: Iterable[Vm]) -> None:
        """Take note of new instances."""
        self.ids.update((vm.name, vm.id) for vm in vms)

    def id_of(self, instance: Instance) -> str:
        """Return an instance's id as a `Vm` has it; "" if neither it nor the session has one."""
        if instance.id and instance.zone:
            return f"zones/{instance.zone}/instances/{instance.id}"
        return self.ids.get(instance.name, "")

    async def free(self, project: Project, *, rule: Instance | None) -> None:
        """Delete all, also what is only known by its labels. Raises `GcpError`.

        ``rule`` is the session's firewall rule, if there may be one: lists may not have it yet.
        So it does if a zone can't be reached where the session may have something. Immortal
        instances are left, and all that they use.
        """
        from ._leftovers import users_of

        found = await project.vms.find(session=self.session, zones=self.zones)
        kept = await self._immortals(project) if self._options.immortal else {}
        ids = {*self.ids.values(), *(vm.id for vm in found)} - {*kept.values()}
        await project.vms.delete(ids)
        self.ids.clear()
        if kept:
            lifetime = self._options.lifetime or 0.0
            warn_of_end(kept, session=self.session, lifetime=lifetime)
        else:
            disks = await project.leftovers.find_disks(session=self.session, zones=self.zones)
            await project.vms.delete(users_of(disks, self.session))
            await project.leftovers.free([*disks, *([rule] if rule else [])])
        self.session = ""

    async def _immortals(self, project: Project) -> dict[str, str]:
        """Return the ids of the machines that outlive the session, by name."""
        vms = {name: await project.vms.describe(id) for name, id in self.ids.items()}
        return {name: vm.id for name, vm in vms.items() if vm and not vm.has_ended}
