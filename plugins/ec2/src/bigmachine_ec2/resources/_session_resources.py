"""What the driver's session has at AWS: its instances, and all else that is tagged with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from bigmachine import cloud
from bigmachine.system import Instance

from ..options._options import Ec2Options
from ._vm import Vm

if TYPE_CHECKING:
    from ._leftovers import ResourceKind
    from ._region import Region


class SessionResources(cloud.SessionResources[Vm]):
    """The resources of one session, of this driver's. All methods raise `AwsError`."""

    system = "ec2"
    firewall = "security group"

    def __init__(self, options: Ec2Options, region: Callable[[], Region]) -> None:
        super().__init__(options)
        self.group_id = ""
        """The session's security group, if it is known."""
        self._markets = options.markets
        self._region = region

    async def find(self) -> Sequence[Vm]:
        """Return the session's instances that are not terminated."""
        return await self._region().vms.find(session=[self.session])

    async def describe(self, id: str) -> Vm | None:
        """Return an instance as it is now, once EC2 finds it and its tags if it is new."""
        return await self._region().vms.await_ours(id)

    async def terminate(self, ids: Collection[str]) -> None:
        """Terminate instances; return when all are terminated."""
        await self._region().vms.terminate(ids, done=self.ended)

    async def find_ours(self, instance: Instance) -> str:
        """Return the id of an instance, by its own id or its name; "" unless it is a session's."""
        return await self._region().vms.find_ours(instance)

    async def free_leftover(self, resource: Instance) -> bool:
        """Delete a resource of a session; whether it is one of those that `_leftovers` lists."""
        from ._leftovers import is_leftover

        if not is_leftover(resource.id):
            return False
        await self._region().leftovers.free_ours(resource.id)
        return True

    async def free_requests(self) -> None:
        """Cancel the session's requests for spot instances."""
        from ._leftovers import FREED_BEFORE_INSTANCES

        if "spot" in self._markets:
            await self._free(FREED_BEFORE_INSTANCES)

    async def free_leftovers(self) -> None:
        """Delete the security group, volumes and templates.

        The group is searched for, too: the response to its creation may be lost.
        """
        from ._leftovers import FREED_AFTER_INSTANCES

        await self._free(FREED_AFTER_INSTANCES, known=self.group_id)
        self.group_id = ""

    async def _free(self, kinds: Sequence[ResourceKind], *, known: str = "") -> None:
        """Free what the session has of these kinds. One that can't be listed keeps no other."""
        leftovers, ids = self._region().leftovers, {known}

        async def find(kind: ResourceKind) -> None:
            ids.update(one.id for one in await leftovers.find(kind, session=self.session))

        try:
            await cloud.for_each(kinds, find)
        finally:
            await leftovers.free(ids - {""})
