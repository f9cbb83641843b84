"""VM sizes: what they are, and whether Azure offers them to the subscription.

All of it is in the resource SKUs (``Microsoft.Compute/skus``), of which a list has one location,
and no other filter (Azure/azure-rest-api-specs issue 15672). Real answers, for the names and the
values of capabilities: Azure/skewer (testdata/eastus.json), Azure/karpenter-provider-azure
(pkg/fake/zz_generated.sku.southcentralus.go).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.errors import UsageError

from ._api import Api
from ._option_formats import location_name, nearest
from ._options import AzureOptions

# Sizes with 2 vCPUs and 8 GiB, in order of preference: the az command's own default comes first.
# New subscriptions often have no quota for a family, or are refused its sizes, so all are tried.
DEFAULT_SIZES = (
    "Standard_D2s_v5",
    "Standard_D2as_v5",
    "Standard_D2s_v6",
    "Standard_D2as_v6",
    "Standard_B2s_v2",
)
# "The following VM sizes are not supported …: B-series, Promo versions of any size" ("Use Azure
# Spot Virtual Machines", "Limitations"), whatever their capability LowPriorityCapable says.
_WITHOUT_SPOT = re.compile(r"^(Standard|Basic)_B\d|_Promo$", re.I)
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class VmSize:
    """A VM size, as the subscription may use it in one location.

    ``architecture`` (``"x64"`` or ``"Arm64"``), ``generations`` (``"V1"``, ``"V2"``) and
    ``controllers`` (``"SCSI"``, ``"NVMe"``: of its remote disks) are Azure's words.
    ``zones`` are those that the subscription may use. ``restriction`` is Azure's reason if it may
    not use the size at all, or "".
    """

    name: str
    family: str
    vcpus: int
    memory_bytes: int
    quota_vcpus: int
    """How much of quotas it counts for: of a constrained size, all vCPUs of its parent.

    "4 DS12-1_v2 machines … were consuming 16 cores" (MicrosoftDocs/azure-docs issue 23017)."""
    architecture: str = "x64"
    zones: frozenset[str] = frozenset()
    restriction: str = ""
    generations: frozenset[str] = frozenset({"V1"})
    controllers: frozenset[str] = frozenset({"SCSI"})
    is_spot_capable: bool = False
    gpus: int = 0
    max_data_disks: int = 0
    has_premium_disks: bool = False
    """Whether its disks may be premium SSDs."""
    temporary_disk_gib: int = 0
    """The size of its temporary disk, on SCSI; 0 for none."""
    local_nvme_gib: int = 0
    """The size of its local NVMe disks together; 0 for none."""
    has_trusted_launch: bool = False
    is_confidential: bool = False

    @property
    def markets(self) -> frozenset[str]:
        """Those of ``"spot"`` and ``"on-demand"`` on which it is sold."""
        return frozenset({"on-demand", "spot"} if self.is_spot_capable else {"on-demand"})

    @property
    def has_local_disks(self) -> bool:
        """Whether there are disks in its host."""
        return bool(self.temporary_disk_gib or self.local_nvme_gib)

    def __str__(self) -> str:
        gpus = f", {self.gpus} GPU{'s'[: self.gpus > 1]}" if self.gpus else ""
        return f"{self.name} ({self.vcpus} vCPUs, {self.memory_bytes / (1 << 30):g} GiB{gpus})"


class Skus:
    """What Azure sells in one location: VM sizes, and types of disks."""

    def __init__(self, raws: Iterable[Mapping[str, Any]], *, location: str) -> None:
        """``raws`` are the answers of ``resource_skus.list``."""
        self._location = location
        self._sizes: dict[str, VmSize] = {}
        self._disk_types: set[str] = set()
        for raw in raws:
            kind = raw.get("resourceType", "").lower()
            if kind == "virtualmachines":
                size = _size_from(raw, location)
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
            hint = nearest(name, names, example="Standard_D2s_v5")
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


async def read_skus(api: Api, *, location: str) -> Skus:
    """Return what the subscription may use in a location. Raises `AzureError`."""
    raws = await api.read_all("resource_skus.list", filter=f"location eq '{location}'")
    return Skus(raws, location=location)


def misfit(size: VmSize, o: AzureOptions) -> str:
    """Return why a size can't have the disks of the options; "" if it can."""
    if o.local_disks and not size.has_local_disks:
        return (
            f"local_disks: {size.name} has no disk in its host: name sizes that have, like "
            f"'Standard_D4ds_v5' or 'Standard_L8s_v3'"
        )
    if o.data_disk and o.data_volumes > size.max_data_disks:
        return (
            f"data_volumes: {size.name} takes at most {size.max_data_disks} data disks, not "
            f"{o.data_volumes}: use fewer, or name a larger size"
        )
    if o.disk_type.startswith("Premium") and not size.has_premium_disks:
        return (
            f"disk_type: {size.name} takes no premium disks: name a size that does (most have an "
            f"'s' after their number, like Standard_D2s_v5), or omit disk_type"
        )
    return ""


def _size_from(raw: Mapping[str, Any], location: str) -> VmSize:
    capabilities = {each["name"]: each.get("value", "") for each in raw.get("capabilities") or ()}

    def number(name: str, default: float = 0.0) -> float:
        return float(capabilities.get(name) or default)

    def names(name: str, default: str) -> frozenset[str]:
        listed = (capabilities.get(name) or default).split(",")
        return frozenset(each.strip() for each in listed)

    restriction, closed_zones = _restrictions(raw.get("restrictions") or (), location)
    vcpus = number("vCPUs")
    return VmSize(
        name=raw["name"],
        family=raw.get("family") or "",
        vcpus=int(number("vCPUsAvailable", vcpus)),
        quota_vcpus=int(vcpus),
        memory_bytes=int(number("MemoryGB") * (1 << 30)),
        architecture=capabilities.get("CpuArchitectureType") or "x64",
        zones=_zones(raw, location) - closed_zones,
        restriction=restriction,
        generations=names("HyperVGenerations", "V1"),
        # "If DiskControllerTypes doesn't exist, the VM is SCSI only." (Azure/
        # SAP-on-Azure-Scripts-and-Utilities pull request 131)
        controllers=names("DiskControllerTypes", "SCSI"),
        is_spot_capable=capabilities.get("LowPriorityCapable", "").lower() == "true"
        and not _WITHOUT_SPOT.search(raw["name"]),
        gpus=int(number("GPUs")),
        max_data_disks=int(number("MaxDataDiskCount")),
        has_premium_disks=capabilities.get("PremiumIO", "").lower() == "true",
        temporary_disk_gib=int(number("MaxResourceVolumeMB") / 1024),
        local_nvme_gib=int(number("NvmeDiskSizeInMiB") / 1024),
        # "How can I find VM sizes that support Trusted launch?" ("Trusted launch")
        has_trusted_launch=capabilities.get("TrustedLaunchDisabled", "").lower() != "true",
        is_confidential=bool(capabilities.get("ConfidentialComputingType")),
    )


def _zones(raw: Mapping[str, Any], location: str) -> frozenset[str]:
    """Return the zones of the location that have a size at all."""
    infos = [
        info
        for info in raw.get("locationInfo") or ()
        if location_name(info.get("location", "")) == location
    ]
    return frozenset(zone for info in infos for zone in info.get("zones") or ())


def _restrictions(raws: Sequence[Mapping[str, Any]], location: str) -> tuple[str, frozenset[str]]:
    """Return why a size can't be used in the location at all, or "", and the zones it is not in.

    If it is restricted in each zone, and not in the location, it can be used without a zone.
    """
    reason, zones = "", set[str]()
    for raw in raws:
        info = raw.get("restrictionInfo") or {}
        places = info.get("locations") or raw.get("values") or ()
        if location not in map(location_name, places):
            continue
        if raw.get("type") == "Zone":
            zones.update(info.get("zones") or ())
        else:
            reason = raw.get("reasonCode") or "restricted"
    return reason, frozenset(zones)
