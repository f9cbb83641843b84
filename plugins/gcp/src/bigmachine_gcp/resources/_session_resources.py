"""What the driver's session has at Google: its instances, disks and firewall rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from bigmachine import cloud
from bigmachine.system import Instance

from ..options._options import GcpOptions
from ._vm import Vm

if TYPE_CHECKING:
    from ._project import Project

_OPERATION_SECONDS = 60.0  # of the three minutes that a session has for its end


class SessionResources(cloud.SessionResources[Vm]):
    """The resources of one session, of this driver's. All methods raise `GcpError`.

    If a zone can't be reached where the session may have something, that is an error, too.
    """

    system = "gcp"

    def __init__(self, options: GcpOptions, project: Callable[[], Project]) -> None:
        super().__init__(options)
        self.zones: Sequence[str] = ()
        """The zones that it launches in."""
        self.rule: Instance | None = None
        """The session's firewall rule, if there may be one: lists may not have it yet."""
        self.unfinished: set[str] = set()
        """The tokens of requests of failed starts that may still launch instances."""
        self._project = project

    def id_of(self, instance: Instance) -> str:
        """Return an instance's id as a `Vm` has it; "" if neither it nor the session has one."""
        if instance.id and instance.zone:
            return f"zones/{instance.zone}/instances/{instance.id}"
        return self.ids.get(instance.name, "")

    async def find(self) -> Sequence[Vm]:
        """Return the session's instances, stopped ones, too."""
        return await self._project().vms.find(session=self.session, zones=self.zones)

    async def describe(self, id: str) -> Vm | None:
        """Return an instance as it is now; None if there is none."""
        return await self._project().vms.describe(id)

    async def terminate(self, ids: Collection[str]) -> None:
        """Delete instances; return when all are gone."""
        await self._project().vms.delete(ids)

    async def find_ours(self, instance: Instance) -> str:
        """Return the id of an instance, by its own id or its name; "" unless it is a session's."""
        return await self._project().vms.find_ours(instance)

    async def free_leftover(self, resource: Instance) -> bool:
        """Delete a session's disk or firewall rule; whether it is one.

        A disk is deleted with the session's instance that uses it, which lists may not have yet.
        """
        from ._leftovers import is_leftover, users_of

        if not is_leftover(resource):
            return False
        project = self._project()
        found = await project.leftovers.find_ours(resource)
        await project.vms.delete(users_of(found, resource.session))
        await project.leftovers.free(found)
        return True

    async def free_requests(self) -> None:
        """Wait for launches of failed starts that still run, so that all they launch is found."""
        from ._bulk_operations import await_operations, unfinished_error

        if not self.unfinished:
            return
        _, self.unfinished = await await_operations(
            self._project().api, self.unfinished, self.zones, seconds=_OPERATION_SECONDS
        )
        if self.unfinished:
            raise unfinished_error(_OPERATION_SECONDS)

    async def free_leftovers(self) -> None:
        """Delete disks, and the instances that keep them; and the firewall rule.

        A zone whose disks can't be listed, or a disk that can't be deleted, keeps nothing else.
        """
        from ._leftovers import users_of

        project = self._project()
        disks: list[Instance] = []
        errors: list[cloud.CloudError] = []
        for zones in [[zone] for zone in self.zones] or [[]]:
            with cloud.note_errors(errors):
                disks += await project.leftovers.find_disks(session=self.session, zones=zones)
        with cloud.note_errors(errors):
            await project.vms.delete(users_of(disks, self.session))
            await project.leftovers.free(disks)
        if self.rule is not None:
            with cloud.note_errors(errors):
                await project.leftovers.free([self.rule])
                self.rule = None
        if errors:
            raise errors[0]
