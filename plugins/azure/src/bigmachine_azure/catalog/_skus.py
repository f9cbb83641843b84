"""What Azure offers to the subscription in one location: the resource SKUs.

A list of them (``Microsoft.Compute/skus``) has one location, and no other filter
(Azure/azure-rest-api-specs issue 15672).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from bigmachine.cloud import nearest_name
from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import AzureError
from ..options._options import AzureOptions
from ._vm_sizes import VmSize

logger = logging.getLogger("bigmachine.azure")

# Sizes with 2 vCPUs and 8 GiB, in order of preference: the az command's own default comes first.
# New subscriptions often have no quota for a family, or are refused its sizes, so all are tried:
# students have some for the last two, and not always both.
DEFAULT_SIZES = (
    "Standard_D2s_v5",
    "Standard_D2as_v5",
    "Standard_D2s_v6",
    "Standard_D2as_v6",
    "Standard_B2s_v2",
    "Standard_B2as_v2",
)
_SHOWN = 5
_PATH = "providers/Microsoft.Compute/skus"
_VERSION = "2021-07-01"  # the SDK's


class Skus:
    """What Azure sells in one location: VM sizes, and types of disks."""

    def __init__(self, raws: Iterable[Mapping[str, Any]], *, location: str) -> None:
        """``raws`` are as Azure lists them."""
        self._location = location
        self._sizes: dict[str, VmSize] = {}
        self._disk_types: set[str] = set()
        for raw in raws:
            kind = raw.get("resourceType", "").lower()
            if kind == "virtualmachines":
                size = VmSize.from_sku(raw, location=location)
                self._sizes[size.name.lower()] = size
            elif kind == "disks":
                self._disk_types.add(raw.get("name", ""))

    def sizes(self, o: AzureOptions) -> list[VmSize]:
        """Return the requested sizes in their order; without any, the default ones.

        Raises `UsageError` for a size that the subscription may not use here, or not in the
        requested zones or markets.
        """
        if not self._sizes:
            raise UsageError(
                f"location: Azure offers no VM sizes in {self._location!r} to this subscription: "
                f"list all locations with `az account list-locations --output table`"
            )
        if o.vm_sizes:
            found = [self._size(name) for name in o.vm_sizes]
            for size in found:
                self._check(size, o)
            return found
        known = [self._sizes[name] for name in map(str.lower, DEFAULT_SIZES) if name in self._sizes]
        found = [size for size in known if not self._problem(size, o)]
        if not found:
            why = "".join(f"; {self._problem(size, o)}" for size in known)
            raise UsageError(
                f"vm_size: this subscription can use no default size "
                f"({', '.join(DEFAULT_SIZES)}) in {self._location}: name a size, or another "
                f"location{why}. {self._list_all}"
            )
        return found

    def check_disk_type(self, disk_type: str) -> None:
        """Raise `UsageError` if the location has no such disks."""
        if self._disk_types and disk_type not in self._disk_types:
            raise UsageError(
                f"disk_type: there are no {disk_type} disks in {self._location}, but "
                f"{', '.join(sorted(self._disk_types))}: name one of these, or omit it"
            )

    def _size(self, name: str) -> VmSize:
        size = self._sizes.get(name.lower())
        if size is None:
            names = [each.name for each in self._sizes.values()]
            hint = nearest_name(name, names, example="Standard_D2s_v5")
            raise UsageError(
                f"vm_size: Azure has no size {name!r} in {self._location} for this subscription; "
                f"{hint} {self._list_all}"
            )
        return size

    def _check(self, size: VmSize, o: AzureOptions) -> None:
        if problem := self._problem(size, o):
            raise UsageError(problem)

    def _problem(self, size: VmSize, o: AzureOptions) -> str:
        """Return why these options can't have a size; "" if they can."""
        if size.restriction:
            others = ", ".join(self._alike(size)) or "another size"
            return (
                f"vm_size: {size.name} is not offered to this subscription in {self._location} "
                f"({size.restriction}): name {others}, or another location, or request access "
                f"(Help + support in the Azure portal)"
            )
        if size.is_confidential:
            # "The VM size … is not supported for creation of VMs … with '<NULL>' security type"
            # (skyplane-project/skyplane issue 755)
            return f"vm_size: {size.name} is for confidential VMs alone: name another size"
        if o.zone_names and not size.zones.intersection(o.zone_names):
            where = f"in {', '.join(sorted(size.zones))}" if size.zones else "in no zone"
            return (
                f"zones: {size.name} is not offered to this subscription in zone "
                f"{' or '.join(o.zone_names)} of {self._location}, but {where}: name other zones "
                f"or another size, or omit zones"
            )
        if not size.markets.intersection(o.markets):
            return (
                f"market: {size.name} is not sold as {' or '.join(o.markets)}: name another size, "
                f"or pass market='on-demand'"
            )
        return ""

    def _alike(self, size: VmSize) -> list[str]:
        """Return some sizes that the subscription may use instead."""
        alike = [
            each.name
            for each in self._sizes.values()
            if not (each.restriction or each.is_confidential)
            and (each.vcpus, each.memory_bytes) == (size.vcpus, size.memory_bytes)
            and (each.architecture, each.gpus) == (size.architecture, size.gpus)
        ]
        return sorted(alike)[:_SHOWN]

    @property
    def _list_all(self) -> str:
        return (
            f"List all with `az vm list-skus --location {self._location} --resource-type "
            f"virtualMachines --output table`"
        )


class UnreadableSkus:
    """Stands for `Skus` that the caller may not read: sizes are what their names say."""

    def sizes(self, o: AzureOptions) -> list[VmSize]:
        """Return the requested sizes in their order; without any, the default ones."""
        return [VmSize.from_name(name, zones=o.zone_names) for name in o.vm_sizes or DEFAULT_SIZES]

    def check_disk_type(self, disk_type: str) -> None:
        """Do nothing: Azure says it at the launch."""


async def read_skus(api: Api, *, location: str) -> Skus | UnreadableSkus:
    """Return what the subscription may use in a location. Raises `AzureError`.

    With a role on the resource group alone, nobody may read that.
    """
    try:
        # Not by the SDK: it makes models of the tens of thousands of capabilities in this list,
        # which takes longer than the whole request.
        raws = await api.request_all(
            _PATH, api_version=_VERSION, query={"$filter": f"location eq '{location}'"}
        )
    except AzureError as error:
        if not error.is_denied:
            raise
        logger.info("whether VM sizes can be had is told by the launch alone: %s", error)
        return UnreadableSkus()
    return Skus(raws, location=location)
