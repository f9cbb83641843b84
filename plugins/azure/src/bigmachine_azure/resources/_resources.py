"""Resources beside VMs that cost money or are in the way: listed, and deleted until they are gone.

They are deleted with their VM, by its `deleteOption`. But a forced deletion, or a VM that could not
be made, may leave them (azure-docs issue 117342, machine-controller-manager issue 298), and a list
may lack what is new (bosh-azure-cpi-release issue 765). So what is known is looked at by its ID.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import for_each, poll_intervals

from ..api._errors import AzureError
from ..api._place import GROUPS_VERSION
from ..api._resource_ids import ResourceId, normal_id
from ..options._names import session_of_part
from ..options._tags import SESSION, session_of, tags_of

if TYPE_CHECKING:
    from ..api._api import Api


logger = logging.getLogger("bigmachine.azure")

_TOLD_SECONDS = 45.0  # Azure releases most of what deleted VMs used within seconds


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """A kind of resource, and the SDK's methods for it.

    ``name`` is what users see. ``group`` is the SDK's operation group, whose methods ``list`` and
    ``list_all`` list those of a resource group, or of the subscription; ``get`` and ``delete``
    take the resource's name as ``parameter``.
    """

    name: str
    type: str
    group: str
    parameter: str
    list: str = "list"
    list_all: str = "list_all"


VM = ResourceKind("instance", "microsoft.compute/virtualmachines", "virtual_machines", "vm_name")
INTERFACE = ResourceKind(
    "network-interface",
    "microsoft.network/networkinterfaces",
    "network_interfaces",
    "network_interface_name",
)
ADDRESS = ResourceKind(
    "public-address",
    "microsoft.network/publicipaddresses",
    "public_ip_addresses",
    "public_ip_address_name",
)
DISK = ResourceKind(
    "disk",
    "microsoft.compute/disks",
    "disks",
    "disk_name",
    list="list_by_resource_group",
    list_all="list",
)
SECURITY_GROUP = ResourceKind(
    "security-group",
    "microsoft.network/networksecuritygroups",
    "network_security_groups",
    "network_security_group_name",
)
KINDS = (INTERFACE, ADDRESS, DISK, SECURITY_GROUP)
"""All but VMs, in the order in which they can be deleted: what is first uses what is later."""

# Until what uses a resource is gone. An interface is held for 180 seconds after a failed creation
# (bosh-azure-cpi-release issue 366); a disk that is attached is an OperationNotAllowed.
_IN_USE = frozenset(
    code.lower()
    for code in (
        "NicInUse",
        "NicInUseWithPrivateEndpoint",
        "NicReservedForAnotherVm",
        "PublicIPAddressCannotBeDeleted",
        "PublicIPAddressInUse",
        "InUseNetworkSecurityGroupCannotBeDeleted",
        "OperationNotAllowed",
        "OperationPreempted",
        "Conflict",
    )
)


class Resources:
    """Resources by their IDs. All methods raise `AzureError`."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._is_warned = False

    def id(self, kind: ResourceKind, name: str, *, group: str) -> str:
        """Return the ID that a resource of this name has, or would have. Only after `Api.open`."""
        return str(ResourceId(self._api.subscription, group, kind.type, name)).lower()

    async def find(self, kind: ResourceKind, *, group: str = "") -> list[Any]:
        """Return all resources of a kind in a resource group, or in the subscription.

        Who may not list the subscription gets those of the options' resource group, with a
        warning. A resource group that does not exist has none.
        """
        await self._api.open()
        if group:
            return await self._list_group(kind, group)
        try:
            return await self._api.read_all(f"{kind.group}.{kind.list_all}")
        except AzureError as error:
            group = self._api.resource_group
            if not (error.is_denied and group):
                raise
            if not self._is_warned:
                logger.warning(
                    "resources of resource group %s alone are listed: this account may not list "
                    "the subscription's (%s)",
                    group,
                    error.denied_action or error.code,
                )
            self._is_warned = True
            return await self._list_group(kind, group)

    async def _list_group(self, kind: ResourceKind, group: str) -> list[Any]:
        """List a resource group; one that does not exist has nothing."""
        try:
            return await self._api.read_all(f"{kind.group}.{kind.list}", resource_group_name=group)
        except AzureError as error:
            if not error.is_not_found or await self._has_group(group):
                raise
            return []

    async def _has_group(self, group: str) -> bool:
        try:
            await self._api.request("GET", self._api.group_id(group), api_version=GROUPS_VERSION)
        except AzureError as error:
            if error.is_not_found:
                return False
            raise
        return True

    async def read(self, id: str, **arguments: str) -> Mapping[str, Any] | None:
        """Return a resource as it is now; None if it does not exist.

        ``arguments`` are more of the SDK's. Some requests don't find a resource group that is new,
        which another process may have made: then its resources exist all the same.
        """
        place, kind = ResourceId.parse(id), kind_of(id)
        request = {"resource_group_name": place.group, kind.parameter: place.name, **arguments}
        for delay in poll_intervals():
            try:
                found: Mapping[str, Any] = await self._api.read(f"{kind.group}.get", **request)
                return found
            except AzureError as error:
                if not error.is_not_found:
                    raise
                if not (error.is_group_not_found and await self._has_group(place.group)):
                    return None
            await trio.sleep(delay)
        raise AssertionError  # polls have no end

    async def delete(self, ids: Iterable[str]) -> None:
        """Delete resources; return when none of them exists any more. See `_delete`."""
        await for_each(dict.fromkeys(map(normal_id, ids)), self._delete)

    async def _delete(self, id: str) -> None:
        """Delete one, and confirm that it is gone.

        It is requested in any case: Azure may not find what is new, and what is left then keeps
        others from being deleted. While something uses it, Azure refuses. This waits for that until
        it is cancelled.
        """
        begin, is_told = trio.current_time(), False
        for delay in poll_intervals():
            try:
                await self._request(id)
                is_refused = False
            except AzureError as error:
                is_refused = not error.is_not_found
                if is_refused and not (error.is_temporary or error.codes & _IN_USE):
                    raise
                if is_refused and not is_told and trio.current_time() >= begin + _TOLD_SECONDS:
                    is_told, name = True, ResourceId.parse(id).name
                    logger.warning("%s %s can't be deleted yet: %s", kind_of(id).name, name, error)
            if not is_refused and await self.read(id) is None:
                return
            await trio.sleep(delay)

    async def _request(self, id: str) -> None:
        place, kind = ResourceId.parse(id), kind_of(id)
        request: dict[str, Any] = {
            "resource_group_name": place.group,
            kind.parameter: place.name,
        }
        await self._api.change_and_wait(f"{kind.group}.delete", **request)


def kind_of(id: str) -> ResourceKind:
    """Return the kind of a resource. Raises `ValueError` for one that is of none of these."""
    type = ResourceId.parse(id).type
    for kind in (VM, *KINDS):
        if kind.type == type:
            return kind
    raise ValueError(f"{id} is of another kind")


def is_being_deleted(raw: Mapping[str, Any]) -> bool:
    """Whether Azure deletes a resource, by its `provisioningState`."""
    state = (raw.get("properties") or {}).get("provisioningState") or ""
    return str(state).lower() == "deleting"


def session_of_resource(raw: Mapping[str, Any]) -> str:
    """Return the session that a resource is of, by its tags, or else by its name; or "".

    In the request for a VM, disks can't have tags. Azure names them ``bm-SESSION-m3_OsDisk_1_…``,
    after the VM ``bm-SESSION-m3``.
    """
    if SESSION in tags_of(raw):
        return session_of(raw)
    return session_of_part(raw["name"])
