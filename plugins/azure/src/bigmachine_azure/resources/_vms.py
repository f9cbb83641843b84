"""Virtual machines of all sessions: listed with their power states, found by tags, and deleted."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import Batch, for_each, poll_intervals
from bigmachine.system import Instance

from ..api._errors import AzureError
from ..api._resource_ids import ResourceId, normal_id
from ._interfaces import Interface, Interfaces
from ._resources import INTERFACE, VM, Resources, kind_of
from ._vm import Vm

if TYPE_CHECKING:
    from ..api._api import Api
    from ..api._operations import Operation

logger = logging.getLogger("bigmachine.azure")

_MAX_IDS = 1000  # asked for at once; a list has as many as there are
_NEW_SECONDS = 30.0  # Azure may not find what was made a moment ago
_LISTED_SECONDS = 20.0  # for which lists may lack what is new (bosh-azure-cpi-release issue 765)
_NOT_THERE = 204  # the status of a deletion's answer if there was nothing to delete
# A deletion can be repeated: another change of the VM goes on.
_BUSY = frozenset(
    code.lower() for code in ("Conflict", "OperationNotAllowed", "OperationPreempted")
)


class Vms:
    """The VMs of all sessions in a subscription. Tasks that ask at once share requests.

    All methods raise `AzureError`.
    """

    def __init__(self, api: Api, resources: Resources) -> None:
        self._api = api
        self._resources = resources
        self._interfaces = Interfaces(resources)
        self._described = Batch(self._describe_all, max_keys=_MAX_IDS)
        self._listed = Batch(self._list_all, max_keys=_MAX_IDS)
        self._first_seen: dict[str, float] = {}
        self._parts: dict[str, set[str]] = {}  # of VMs, until they and these are gone
        self.listed_at = -math.inf
        """When lists have what VMs have left that were deleted before their parts were known."""
        self._deleted: set[str] = set()  # VMs that are gone, but for their parts

    def note_new(self, *ids: str) -> None:
        """Remember VMs that may exist since now: Azure may not find them yet."""
        for id in ids:
            self._first_seen.setdefault(id, trio.current_time())

    def is_new(self, id: str) -> bool:
        """Whether the VM was first noted so recently that Azure may not find it yet."""
        return trio.current_time() < self._first_seen.get(id, -float("inf")) + _NEW_SECONDS

    def vm_id(self, name: str, *, group: str) -> str:
        """Return the ID that a VM of this name has, or would have, in a resource group."""
        return self._resources.id(VM, name, group=group)

    async def describe(self, id: str) -> Vm | None:
        """Return a VM as it is now, with its power state if Azure tells it; None if it is gone.

        What a list lacks is looked at by its name: lists may be out of date.
        """
        return await self._described(id)

    async def find(self, *, session: str = "", group: str = "") -> list[Vm]:
        """Return the VMs of a session, or of all, in a resource group, or in the subscription.

        Stopped ones are among them. They come without their power states and addresses.
        """
        found = await self._list(group)
        return [vm for vm in found if vm.is_ours and session in ("", vm.session)]

    async def find_ours(self, instance: Instance) -> str:
        """Return the id of an instance, by its own id or its name; "" unless it is a session's."""
        group = instance.details.get("resource_group", "")
        if instance.id and group:
            await self._api.open()
            id = self.vm_id(instance.id, group=group)
            if self.is_new(id):  # it was listed a moment ago, and may not be found again yet
                return id
            vm = await self.describe(id)
            found = await self.find(group=group) if vm is None else [vm]
            return next((vm.id for vm in found if vm.id == id and vm.is_ours), "")
        session = instance.name.partition(".")[2]
        if not session and not instance.id:
            return ""
        found = await self.find(session=session)
        return next((vm.id for vm in found if instance.name == vm.name), "") or next(
            (vm.id for vm in found if instance.id and instance.id == vm.resource_name), ""
        )

    async def with_power_states(self, vms: Sequence[Vm]) -> list[Vm]:
        """Return VMs with their power states, as far as Azure tells them.

        Only the subscription's list has states (``statusOnly``), and mostly nothing else. Who may
        not list the subscription looks at each VM.
        """
        try:
            raws = await self._api.read_all("virtual_machines.list_all", status_only="true")
        except AzureError as error:
            if not error.is_denied:
                raise
            logger.debug("power states are looked at one by one: %s", error)
            found = await self._read_all([vm.id for vm in vms])
            return [found.get(vm.id, vm) for vm in vms]
        states = {normal_id(raw["id"]): raw for raw in raws}
        return [vm.with_states(states.get(vm.id, {})) for vm in vms]

    async def with_addresses(self, vms: Sequence[Vm]) -> list[Vm]:
        """Return VMs with their private and public addresses, as far as they have some."""
        complete: dict[str, Vm] = {}

        async def complete_one(vm: Vm) -> None:
            complete[vm.id] = await self._with_addresses(vm)

        await for_each(vms, complete_one)
        return [complete[vm.id] for vm in vms]

    async def delete(
        self,
        ids: Iterable[str],
        *,
        at_once: Container[str] = (),
        patience: float = math.inf,
    ) -> None:
        """Delete VMs and all that is theirs; return when all of it is gone.

        The operating systems of those that are in ``at_once`` are not shut down. Azure may hold
        the interface of a VM that it could not make for three minutes: after ``patience`` seconds,
        the rest is left to `delete_parts`.
        """

        async def delete(id: str) -> None:
            await self._delete(id, is_forced=id in at_once)
            with trio.move_on_after(patience):
                await self.delete_parts(id)

        await for_each(dict.fromkeys(ids), delete)

    async def delete_parts(self, *ids: str) -> None:
        """Delete what is left of VMs that are deleted, by default of all; return when it is gone.

        These are interfaces, addresses and disks that were known before.
        """

        async def delete(id: str) -> None:
            await self._resources.delete(self._parts.get(id, ()))
            self._parts.pop(id, None)
            self._deleted.discard(id)

        await for_each(ids or [*self._deleted], delete)

    # -- one VM ---------------------------------------------------------------------------

    async def _delete(self, id: str, *, is_forced: bool) -> None:
        """Delete one, and confirm that it is gone; what else it had is then among the parts."""
        for delay in poll_intervals():  # what it has is known as long as it is there
            vm = await self._listed(id)
            if vm is not None or not self.is_new(id):
                break
            await trio.sleep(delay)
        await self._note_addresses(id, vm)
        for delay in poll_intervals():
            operation = await self._request_deletion(id, is_forced=is_forced)
            if operation is None:
                if await self._listed(id) is None and not self.is_new(id):
                    break
            elif await self._is_deleted(id, operation):
                break
            await trio.sleep(delay)
        self._first_seen[id] = -math.inf  # a list may have it still, which does not make it new
        self._deleted.add(id)

    async def _is_deleted(self, id: str, operation: Operation) -> bool:
        """Wait until a deletion has ended; return whether the VM is gone.

        Many are looked at by one list, as long as that shows that Azure deletes them: to follow
        each operation would take many requests of each. But a list may have a VM still that is
        gone; and Azure may not show a new one that is there. So that a new one is gone, its
        operation's end tells, or that there was nothing to delete.
        """
        if operation.status != _NOT_THERE:
            for delay in poll_intervals():
                vm = await self._listed(id)
                if vm is None and not self.is_new(id):
                    return True
                if vm is None or not vm.is_being_deleted:
                    break
                await trio.sleep(delay)
            if not await self._has_ended(operation):
                return False
        return not await self._read_all([id])

    async def _request_deletion(self, id: str, *, is_forced: bool) -> Operation | None:
        """Request a deletion; return None if it must be requested again."""
        place = ResourceId.parse(id)
        try:
            return await self._api.change(
                "virtual_machines.delete",
                resource_group_name=place.group,
                vm_name=place.name,
                force_deletion=is_forced,
            )
        except AzureError as error:
            if error.is_not_found or error.codes & _BUSY:
                return None
            raise

    async def _has_ended(self, operation: Operation) -> bool:
        """Wait for a deletion's operation; return False if it must be requested again."""
        try:
            await self._api.wait(operation)
        except AzureError as error:
            if not (error.is_not_found or error.is_temporary or error.codes & _BUSY):
                raise
            return False
        return True

    async def _note_addresses(self, id: str, vm: Vm | None) -> None:
        """Take note of a VM's public addresses: once it is gone, nothing else names them.

        If Azure does not show it, or it has nothing yet, what was known of it before tells.
        """
        if vm is None and self._first_seen.get(id) == -math.inf:  # it was deleted before
            return
        interfaces = (vm.interfaces if vm is not None else ()) or self._known_interfaces(id)
        for each in interfaces:
            if interface := await self._interfaces.read(each):
                self._note_address(id, interface)
        if not interfaces:
            self.listed_at = trio.current_time() + _LISTED_SECONDS

    def _known_interfaces(self, id: str) -> tuple[str, ...]:
        return tuple(part for part in self._parts.get(id, ()) if kind_of(part) is INTERFACE)

    def _note_address(self, id: str, interface: Interface) -> None:
        """Take note of a VM's own public address, whose name is its; not of another's."""
        public = interface.public_address_id
        if public.rpartition("/")[2].startswith(ResourceId.parse(id).name):
            self._parts.setdefault(id, set()).add(public)

    async def _with_addresses(self, vm: Vm) -> Vm:
        for id in vm.interfaces:
            if found := await self._interfaces.read(id):
                self._note_address(vm.id, found)
                public = found.public_address_id
                return dataclasses.replace(
                    vm,
                    internal_address=found.private_address,
                    external_address=await self._interfaces.public_address(public)
                    if public
                    else "",
                )
        return vm

    # -- many VMs -------------------------------------------------------------------------

    async def _describe_all(self, ids: Sequence[str]) -> dict[str, Vm]:
        """Describe VMs: one by a look at it, many by a list of them, and one of power states."""
        if len(ids) == 1:
            return await self._read_all(ids)
        found = await self._list_all(ids)
        described = await self.with_power_states([*found.values()])
        return {vm.id: vm for vm in described}

    async def _list_all(self, ids: Sequence[str]) -> dict[str, Vm]:
        """Describe VMs, without their power states; what a list lacks is looked at by its name."""
        if len(ids) == 1:
            return await self._read_all(ids)
        found: dict[str, Vm] = {}
        for group in dict.fromkeys(ResourceId.parse(id).group for id in ids):
            found.update((vm.id, vm) for vm in await self._list(group))
        missing = [id for id in ids if id not in found]
        return {id: vm for id, vm in found.items() if id in ids} | await self._read_all(missing)

    async def _list(self, group: str) -> list[Vm]:
        return self._parse(await self._resources.find(VM, group=group))

    async def _read_all(self, ids: Sequence[str]) -> dict[str, Vm]:
        """Look at each VM by its name, with its power state; leave out those that are gone."""
        found: dict[str, Vm] = {}

        async def read(id: str) -> None:
            raw = await self._resources.read(id, expand="instanceView")
            if raw is not None:
                found.update((vm.id, vm) for vm in self._parse([raw]))

        await for_each(ids, read)
        return found

    def _parse(self, raws: Iterable[Mapping[str, Any]]) -> list[Vm]:
        found = [Vm.from_response(raw) for raw in raws]
        self.note_new(*(vm.id for vm in found if vm.is_ours))  # later requests may not find them
        for vm in found:
            self._parts.setdefault(vm.id, set()).update(vm.parts)
        return found
