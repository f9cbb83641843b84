"""Network interfaces of VMs, and their addresses, which a VM's own description lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.cloud import Batch, for_each

from ..api._resource_ids import ResourceId, normal_id
from ._resources import ADDRESS, INTERFACE, ResourceKind, Resources

_MAX_IDS = 1000  # asked for at once; a list has as many as there are


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface: its private address, and the IDs of its public one and of its VM.

    Each is empty while there is none.
    """

    id: str
    private_address: str
    public_address_id: str
    vm_id: str

    @classmethod
    def from_response(cls, raw: Mapping[str, Any]) -> Interface:
        """Parse a network interface as Azure describes it."""
        properties = raw.get("properties") or {}
        configurations = [one.get("properties") or {} for one in _list(properties)]
        first = next((one for one in configurations if one.get("primary")), {})
        first = first or next(iter(configurations), {})
        public = (first.get("publicIPAddress") or {}).get("id") or ""
        return cls(
            id=normal_id(raw["id"]),
            private_address=first.get("privateIPAddress") or "",
            public_address_id=normal_id(public),
            vm_id=normal_id((properties.get("virtualMachine") or {}).get("id") or ""),
        )


class Interfaces:
    """The network interfaces of VMs, and public addresses. Tasks that ask at once share requests.

    One is looked at by its ID, many by a list of their resource group. All methods raise
    `AzureError`.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._interfaces = Batch(self._read_interfaces, max_keys=_MAX_IDS)
        self._addresses = Batch(self._read_addresses, max_keys=_MAX_IDS)

    async def read(self, id: str) -> Interface | None:
        """Return an interface as it is now; None if there is none."""
        return await self._interfaces(id)

    async def public_address(self, id: str) -> str:
        """Return a public address, given its ID; "" if there is none, or not yet."""
        return await self._addresses(id) or ""

    async def _read_interfaces(self, ids: Sequence[str]) -> dict[str, Interface]:
        found = await self._read(INTERFACE, ids)
        return {id: Interface.from_response(raw) for id, raw in found.items()}

    async def _read_addresses(self, ids: Sequence[str]) -> dict[str, str]:
        found = await self._read(ADDRESS, ids)
        return {id: public_address_of(raw) for id, raw in found.items()}

    async def _read(self, kind: ResourceKind, ids: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}

        async def read(id: str) -> None:
            if (raw := await self._resources.read(id)) is not None:
                found[id] = raw

        if len(ids) > 1:
            for group in dict.fromkeys(ResourceId.parse(id).group for id in ids):
                raws = await self._resources.find(kind, group=group)
                found.update(by_id(raws))
        await for_each([id for id in ids if id not in found], read)  # a list may lack what is new
        return found


def by_id(raws: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return resources as Azure describes them by their IDs, as these can be compared."""
    return {normal_id(raw["id"]): raw for raw in raws}


def public_address_of(raw: Mapping[str, Any]) -> str:
    """Return the address of a public address as Azure describes it; "" while it has none."""
    return (raw.get("properties") or {}).get("ipAddress") or ""


def _list(properties: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return properties.get("ipConfigurations") or ()
