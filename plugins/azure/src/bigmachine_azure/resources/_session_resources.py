"""What the driver's session has at Azure: its VMs, and all else that is tagged with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import trio

from bigmachine import cloud
from bigmachine.system import Instance

from ..options._options import AzureOptions
from ._vm import Vm

if TYPE_CHECKING:
    from ._account import Account


class SessionResources(cloud.SessionResources[Vm]):
    """The resources of one session, of this driver's. All methods raise `AzureError`."""

    system = "azure"
    firewall = "security group"

    def __init__(self, options: AzureOptions, account: Callable[[], Account]) -> None:
        super().__init__(options)
        self.security_group_id = ""
        """The session's security group, if there may be one: lists may not have it yet."""
        self.markets: dict[str, str] = {}
        """What its VMs were bought on, by id: Azure no longer says it of one that is gone."""
        self._account = account
        self._may_have_schedules = options.allow_billing_leak

    def id_of(self, instance: Instance) -> str:
        """Return an instance's id as a `Vm` has it; "" if neither it nor the session has one."""
        group = instance.details.get("resource_group", "")
        if instance.name in self.ids or not (instance.id and group):
            return self.ids.get(instance.name, "")
        return self._account().vms.vm_id(instance.id, group=group)

    async def find(self) -> Sequence[Vm]:
        """Return the session's VMs, stopped ones, too."""
        return await self._account().vms.find(session=self.session, group=self._group)

    async def describe(self, id: str) -> Vm | None:
        """Return a VM as it is now; None if there is none."""
        return await self._account().vms.describe(id)

    async def terminate(self, ids: Collection[str]) -> None:
        """Delete VMs with all that is theirs; return when all is gone."""
        await self._account().vms.delete(ids, at_once=self.ended)
        others = {*ids} - {*self.ids.values()}  # whose options are not known
        await self._account().deallocation.forget(ids if self._may_have_schedules else others)

    async def find_ours(self, instance: Instance) -> str:
        """Return the id of a VM, by its own id or its name; "" unless it is a session's."""
        return await self._account().vms.find_ours(instance)

    async def free_leftover(self, resource: Instance) -> bool:
        """Delete a resource of a session; whether it is one of those that `_leftovers` lists."""
        from ._leftovers import is_leftover

        account = self._account()
        await account.api.open()  # ids have the subscription
        if not is_leftover(resource):
            return False
        await account.leftovers.free(await account.leftovers.find_ours(resource))
        return True

    async def free_leftovers(self) -> None:
        """Delete what VMs have left, and the security group; then look once more.

        A list may lack what a failed or forced request has just left: then that look is later. What
        fails keeps nothing else from being deleted.
        """
        account = self._account()
        errors: list[cloud.CloudError] = []
        with cloud.note_errors(errors):
            await account.vms.delete_parts()
        last: list[cloud.CloudError] = []
        for look_at in (-math.inf, account.vms.listed_at):
            await trio.sleep_until(look_at)
            last.clear()
            with cloud.note_errors(last):
                found, of_lists = await account.leftovers.find(
                    session=self.session, group=self._group, has_ended=True
                )
                last += of_lists
                await account.leftovers.free(found)
        if self.security_group_id:
            with cloud.note_errors(errors):
                await account.resources.delete([self.security_group_id])
                self.security_group_id = ""
        for error in (*errors, *last):
            raise error

    @property
    def _group(self) -> str:
        return self._account().api.resource_group
