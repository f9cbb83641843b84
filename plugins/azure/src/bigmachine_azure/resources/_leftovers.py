"""What sessions have left beside VMs: interfaces, addresses, disks, and security groups.

Those that a VM uses are deleted with it, and not listed. A security group is its session's, and
always listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bigmachine.cloud import for_each
from bigmachine.system import Instance

from ..api._errors import AzureError
from ..api._resource_ids import ResourceId, normal_id
from ..options import _tags
from ._interfaces import Interface
from ._resources import (
    ADDRESS,
    DISK,
    INTERFACE,
    KINDS,
    ResourceKind,
    Resources,
    is_being_deleted,
    session_of_resource,
)
from ._vms import Vms

if TYPE_CHECKING:
    from ..api._api import Api

_NO_TAGS: Mapping[str, str] = MappingProxyType({})


class Leftovers:
    """The resources of sessions, without VMs. All methods raise `AzureError`."""

    def __init__(self, api: Api, resources: Resources, vms: Vms) -> None:
        self._api = api
        self._resources = resources
        self._vms = vms

    async def find(
        self, *, session: str = "", group: str = "", has_ended: bool = False
    ) -> tuple[list[Instance], list[AzureError]]:
        """List the leftovers of a session, or of all, in the order in which they can be deleted.

        They are looked for in a resource group, or in the subscription. If the session
        ``has_ended``, nothing is in use any more, whatever VMs a list may still have. Returns the
        errors of lists, too: what they would have is unknown, and keeps no other from being found.
        Raises the error of the list of VMs.
        """
        listed, errors = await self._list(group)
        vms = {vm.id: vm for vm in await self._vms.find(group=group)}
        interfaces = None
        if INTERFACE in listed:
            parsed = map(Interface.from_response, listed[INTERFACE])
            interfaces = {one.id: one for one in parsed}
        # A disk has no tags that tell the driver and the time; others of its session have.
        tags = {vm.session: vm.tags for vm in vms.values()}
        for raw in (raw for raws in listed.values() for raw in raws):
            if _tags.SESSION in (own := _tags.tags_of(raw)):
                tags[session_of_resource(raw)] = own
        found = [
            _instance(kind, raw, tags.get(session_of_resource(raw), {}))
            for kind in KINDS
            for raw in listed.get(kind, ())
            if session_of_resource(raw) and session in ("", session_of_resource(raw))
            if has_ended or not _is_used(kind, raw, vms, interfaces)
        ]
        return found, errors

    async def _list(self, group: str) -> tuple[dict[ResourceKind, list[Any]], list[AzureError]]:
        listed: dict[ResourceKind, list[Any]] = {}
        errors: list[AzureError] = []

        async def read(kind: ResourceKind) -> None:
            try:
                listed[kind] = await self._resources.find(kind, group=group)
            except AzureError as error:
                errors.append(error)

        await for_each(KINDS, read)
        return listed, errors

    async def free(self, resources: Iterable[Instance]) -> None:
        """Delete what was found, and VMs of the session that use it; return when all is gone."""
        await for_each(resources, self._free)

    async def find_ours(self, resource: Instance) -> list[Instance]:
        """Return a resource as it is now, if it is a session's; else nothing."""
        kind, id = await self._place_of(resource)
        raw = await self._resources.read(id)
        return [_instance(kind, raw)] if raw is not None and session_of_resource(raw) else []

    async def _place_of(self, resource: Instance) -> tuple[ResourceKind, str]:
        """Return a resource's kind and ID."""
        await self._api.open()
        kind = next(kind for kind in KINDS if kind.name == resource.kind)
        group = resource.details.get("resource_group", "")
        return kind, self._resources.id(kind, resource.id, group=group)

    async def _free(self, resource: Instance) -> None:
        kind, id = await self._place_of(resource)
        raw = await self._resources.read(id)
        if raw is None:
            return
        if user := await self._user_of(kind, raw):
            await self._vms.delete([user])
        await self._resources.delete([id])

    async def _user_of(self, kind: ResourceKind, raw: Mapping[str, Any]) -> str:
        """Return the VM that uses a resource, if it is of the same session; else "".

        Lists may not have it yet. A VM of others is left, whatever somebody has attached to it.
        """
        user = _user(kind, raw)
        if kind is ADDRESS and user:
            interface = await self._resources.read(user)
            user = _user(INTERFACE, interface) if interface is not None else ""
        if not user:
            return ""
        session = session_of_resource(raw)
        vm = await self._vms.describe(user)
        return vm.id if vm is not None and vm.session == session else ""


def is_leftover(instance: Instance) -> bool:
    """Whether this is a resource of a kind that is listed here."""
    return instance.kind in {kind.name for kind in KINDS}


def _user(kind: ResourceKind, raw: Mapping[str, Any]) -> str:
    """Return the id of what uses a resource: a VM, or the interface of an address; "" for none."""
    properties = raw.get("properties") or {}
    if kind is INTERFACE:
        return normal_id((properties.get("virtualMachine") or {}).get("id") or "")
    if kind is ADDRESS:
        return normal_id((properties.get("ipConfiguration") or {}).get("id") or "")
    if kind is DISK:
        return normal_id(raw.get("managedBy") or "")
    return ""


def _is_used(
    kind: ResourceKind,
    raw: Mapping[str, Any],
    vms: Iterable[str],
    interfaces: Mapping[str, Interface] | None,
) -> bool:
    """Whether a VM that is listed uses a resource, or Azure is just deleting it."""
    user = _user(kind, raw)
    if kind is ADDRESS and user:
        if interfaces is None:  # an error tells that these are unknown, so it may be in use
            return True
        user = interfaces[user].vm_id if user in interfaces else ""
    return user in vms or is_being_deleted(raw)


def _instance(
    kind: ResourceKind, raw: Mapping[str, Any], session_tags: Mapping[str, str] = _NO_TAGS
) -> Instance:
    """Return a resource of a session as a system's `Instance`.

    ``session_tags`` are those of another resource of the session, for one that has none.
    """
    properties = raw.get("properties") or {}
    session, tags = session_of_resource(raw), _tags.tags_of(raw)
    details = _tags.details(
        tags if _tags.SESSION in tags else session_tags,
        kind=kind.name,
        state=str(properties.get("diskState") or "").lower(),
        resource_group=ResourceId.parse(raw["id"]).group,
    )
    started = details["started"] or str(properties.get("timeCreated") or "")
    return Instance(
        name=f"{kind.name}.{session}",
        address="",
        id=raw["name"],
        zone=raw.get("location") or "",
        details={**details, "session": session, "started": started},
    )
