"""VM sizes: what they are, and whether the subscription may use them.

All of it is in the resource SKUs. Real answers, for the names and the values of capabilities:
Azure/skewer (testdata/eastus.json), Azure/karpenter-provider-azure
(pkg/fake/zz_generated.sku.southcentralus.go).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..options._option_formats import location_name
from ..options._options import AzureOptions

# "The following VM sizes are not supported …: B-series, Promo versions of any size" ("Use Azure
# Spot Virtual Machines", "Limitations"), whatever their capability LowPriorityCapable says.
_WITHOUT_SPOT = re.compile(r"^(Standard|Basic)_B\d|_Promo$", re.I)
_NAME = re.compile(r"[A-Za-z]+_[A-Z]+\d+(?:-\d+)?([a-z]*)(?:_.*?)??(?:_v(\d+))?(?:_Promo)?", re.I)
_FIRST_NVME_VERSION = 6


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
    """0 if it is unknown."""
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

    @classmethod
    def from_sku(cls, raw: Mapping[str, Any], *, location: str) -> VmSize:
        """Return a size from Azure's answer for it in a location."""
        return _size_from(raw, location)

    @classmethod
    def from_name(cls, name: str, *, zones: Iterable[str]) -> VmSize:
        """Return what a size's name says; all else is unknown, and believed to fit.

        ``zones`` are those that are requested. By "Azure virtual machine sizes naming
        conventions", the features follow the number of vCPUs, of which p is an ARM processor. From
        version 6 on, sizes boot generation 2 from NVMe disks alone ("NVMe overview").
        """
        features, version = _features(name)
        is_arm, is_new = "p" in features, version >= _FIRST_NVME_VERSION
        return cls(
            name=name,
            family="",
            vcpus=0,
            memory_bytes=0,
            quota_vcpus=0,
            architecture="Arm64" if is_arm else "x64",
            zones=frozenset(zones),
            generations=frozenset({"V2"} if is_arm or is_new else {"V1", "V2"}),
            controllers=frozenset({"NVMe"} if is_new else {"SCSI"}),
            is_spot_capable=not _WITHOUT_SPOT.search(name),
            max_data_disks=AzureOptions.max_data_volumes,
            has_premium_disks=True,
            temporary_disk_gib=1,
            has_trusted_launch=True,
        )

    def __str__(self) -> str:
        if not self.vcpus:
            return self.name
        gpus = f", {self.gpus} GPU{'s'[: self.gpus > 1]}" if self.gpus else ""
        return f"{self.name} ({self.vcpus} vCPUs, {self.memory_bytes / (1 << 30):g} GiB{gpus})"


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


def _features(name: str) -> tuple[str, int]:
    """Return the features and the version in a size's name: ``"ps"`` and 5 of D2ps_v5."""
    match = _NAME.fullmatch(name)
    return (match[1], int(match[2] or 1)) if match else ("", 1)
