"""A virtual machine of a session, as Azure describes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigmachine.cloud import machine_port
from bigmachine.system import Instance

from ..api._resource_ids import ResourceId, normal_id
from ..catalog._prices import PriceKey
from ..options import _tags

# "States and billing status of Azure Virtual Machines": stopped, it keeps its host, and is billed
# like a running one; only a deallocated one costs no more than its disks and its address.
_STOPPED = ("stopping", "stopped")
_DEALLOCATED = ("deallocating", "deallocated", "hibernating", "hibernated")
_POWER, _PROVISIONING = "PowerState/", "ProvisioningState/"


@dataclass(frozen=True, slots=True)
class Vm:
    """A virtual machine as Azure describes it. What is unknown is empty.

    ``id`` is its resource ID in lower case. ``power_state`` is empty if Azure does not say it, as
    in a list without states, and also now and then in one with them: then it is unknown whether it
    runs. ``session`` is the full name of the session that launched it, "" if none did.
    """

    id: str
    resource_name: str
    location: str
    zone: str
    size_name: str
    market: str
    provisioning_state: str
    power_state: str
    failure: tuple[str, str]
    """Why it could not be made: Azure's code and message; both empty if Azure gives no reason."""
    session: str
    tags: Mapping[str, str] = field(repr=False)
    interfaces: tuple[str, ...] = field(repr=False)
    """The IDs of its network interfaces."""
    parts: tuple[str, ...] = field(repr=False)
    """The IDs of those interfaces and disks that Azure deletes with it: not what somebody has
    attached to it later."""
    internal_address: str = ""
    external_address: str = ""

    @classmethod
    def from_response(cls, raw: Mapping[str, Any]) -> Vm:
        """Parse a virtual machine, with or without its instance view."""
        properties = raw.get("properties") or {}
        vm = cls(
            id=normal_id(raw["id"]),
            resource_name=raw["name"],
            location=raw.get("location") or "",
            zone=next(iter(raw.get("zones") or ()), ""),
            size_name=(properties.get("hardwareProfile") or {}).get("vmSize") or "",
            market="spot" if properties.get("priority") in ("Spot", "Low") else "on-demand",
            provisioning_state=properties.get("provisioningState") or "",
            power_state="",
            failure=("", ""),
            session=_tags.session_of(raw),
            tags=_tags.tags_of(raw),
            interfaces=tuple(normal_id(one.get("id") or "") for one in _interfaces(properties)),
            parts=_parts(properties),
        )
        return vm.with_states(raw)

    def with_states(self, raw: Mapping[str, Any]) -> Vm:
        """Return it with the states of an instance view, if ``raw`` has one."""
        properties = raw.get("properties") or {}
        view = properties.get("instanceView") or {}
        states = [state for state in view.get("statuses") or () if state.get("code")]
        power = next((s["code"] for s in states if s["code"].startswith(_POWER)), "")
        own: Mapping[str, Any] = next(
            (s for s in states if s["code"].startswith(_PROVISIONING)), {}
        )
        words = own.get("code", "").split("/")  # ProvisioningState/failed/CODE
        is_failed = len(words) > 2 and words[1] == "failed"
        return dataclasses.replace(
            self,
            provisioning_state=properties.get("provisioningState") or self.provisioning_state,
            power_state=power.removeprefix(_POWER).lower() or self.power_state,
            failure=(words[2], own.get("message") or "") if is_failed else self.failure,
        )

    @property
    def resource_group(self) -> str:
        """The resource group that it is in, in lower case."""
        return ResourceId.parse(self.id).group

    @property
    def name(self) -> str:
        """Its machine's full name."""
        label = self.resource_name.rpartition("-")[2]
        return f"{label}.{self.session}"

    @property
    def place(self) -> str:
        """Its zone, as ``"westeurope-1"``, or its location if it is in none."""
        return f"{self.location}-{self.zone}" if self.zone else self.location

    @property
    def price_key(self) -> PriceKey:
        """What its price depends on."""
        return PriceKey(self.market, self.size_name, self.location)

    @property
    def is_ours(self) -> bool:
        """Whether a session launched it."""
        return bool(self.session)

    @property
    def is_stopped_and_billed(self) -> bool:
        """Whether it computes no more, and costs as much as before."""
        return self.power_state in _STOPPED

    @property
    def is_deallocated(self) -> bool:
        """Whether only its disks and its address cost money."""
        return self.power_state in _DEALLOCATED

    @property
    def is_being_deleted(self) -> bool:
        """Whether Azure deletes it."""
        return self.provisioning_state.lower() == "deleting"

    @property
    def has_ended(self) -> bool:
        """Whether it no longer runs. It may still cost money."""
        return self.is_stopped_and_billed or self.is_deallocated or self.is_being_deleted

    @property
    def state(self) -> str:
        """Its states for people: ``"running"``, ``"stopped, billed"``, ``"creating"``."""
        power = self.power_state or "power state unknown"
        billed = "billed" if self.is_stopped_and_billed else ""
        provisioning = self.provisioning_state.lower()
        if provisioning in ("creating", "deleting"):
            return provisioning
        return ", ".join(
            filter(None, ("failed" if provisioning == "failed" else "", power, billed))
        )

    def instance(self, *, port: int = 0) -> Instance:
        """Return it as a system's `Instance`. The default ``port`` is the one it was made with.

        Its address is the private one: machines reach one another there, and the session's
        security group knows them by their subnet.
        """
        port = port or machine_port(self.tags.get(_tags.PORT, ""))
        host = self.internal_address
        return Instance(
            name=self.name,
            address=f"{host}:{port}" if host else "",
            id=self.resource_name,
            zone=self.place,
            details=_tags.details(
                self.tags,
                kind="instance",
                state=self.state,
                instance_type=self.size_name,
                market=self.market,
                resource_group=self.resource_group,
                **({"immortal": "yes"} if self.tags.get(_tags.IMMORTAL) else {}),
                **({"stopped_and_billed": "yes"} if self.is_stopped_and_billed else {}),
            ),
        )


def _interfaces(properties: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (properties.get("networkProfile") or {}).get("networkInterfaces") or ()


def _parts(properties: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the IDs of the interfaces and disks that are deleted with a virtual machine."""
    storage = properties.get("storageProfile") or {}
    disks = [storage.get("osDisk") or {}, *(storage.get("dataDisks") or ())]
    ids = [
        *(one.get("id") for one in _interfaces(properties) if _goes(one.get("properties") or {})),
        *((disk.get("managedDisk") or {}).get("id") for disk in disks if _goes(disk)),
    ]
    return tuple(filter(None, (normal_id(id or "") for id in ids)))


def _goes(part: Mapping[str, Any]) -> bool:
    return part.get("deleteOption") == "Delete"
