"""VM sizes: what Azure sells, as its list of resource SKUs says it.

A small part of what there is. Capabilities, families and prices are those of answers that others
have stored: Azure/karpenter-provider-azure's ``zz_generated.sku.southcentralus.go`` and, for the
newer ones, the pages of the series in Azure's documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.azure.places import WITHOUT_ZONES

SOLD_IN = ("eastus", "northeurope", "westcentralus", "westeurope")
"""Locations where this subscription can have VMs; in others, the list restricts all sizes."""
_FEW = ("eastus", "westeurope")


@dataclass(frozen=True)
class Size:
    """A VM size; memory in GiB, disks in MiB, prices in USD an hour."""

    name: str
    family: str
    """As in resource SKUs; the list of usages may write it in other letters."""
    vcpus: int
    memory: float
    price: float
    """Linux, on demand; spot costs a fifth."""
    architecture: str = "x64"
    generations: tuple[str, ...] = ("V1", "V2")
    controllers: tuple[str, ...] = ()
    """Of remote disks. Sizes from before NVMe have no such capability, and are SCSI only."""
    data_disks: int = 4
    is_low_priority_capable: bool = True
    """What the list says. It says so of the B series, too, which can't be spot."""
    has_premium_disks: bool = True
    temporary_disk: int = 0
    nvme_disks: int = 0
    nvme_disk: int = 0
    """The size of each."""
    gpus: int = 0
    zones: tuple[str, ...] = ("1", "2", "3")
    locations: tuple[str, ...] = SOLD_IN
    has_trusted_launch: bool = True
    nics: int = 2

    @property
    def can_be_spot(self) -> bool:
        """Whether it is really sold as spot ("Use Azure Spot Virtual Machines", Limitations)."""
        return self.is_low_priority_capable and not self.name.startswith("Standard_B")

    @property
    def spot_price(self) -> float:
        return round(self.price / 5, 6)

    @property
    def disk_controllers(self) -> tuple[str, ...]:
        return self.controllers or ("SCSI",)

    def zones_in(self, location: str) -> tuple[str, ...]:
        """Return the zones of a location that have it."""
        return () if location in WITHOUT_ZONES else self.zones


_GEN2: dict[str, Any] = {"generations": ("V2",)}
_NVME: dict[str, Any] = {**_GEN2, "controllers": ("NVMe",)}
_ARM: dict[str, Any] = {**_GEN2, "architecture": "Arm64", "locations": _FEW}
_SERIES: tuple[tuple[str, str, int, float, dict[str, Any]], ...] = (
    ("D{}s_v3", "standardDSv3Family", 4, 0.06, {"temporary_disk": 8192}),
    ("D{}s_v5", "standardDSv5Family", 4, 0.0575, {}),
    ("D{}ds_v5", "standardDDSv5Family", 4, 0.068, {"temporary_disk": 38400}),
    ("D{}as_v5", "standardDASv5Family", 4, 0.052, {"controllers": ("SCSI", "NVMe")}),
    ("D{}s_v6", "StandardDsv6Family", 4, 0.06, _NVME),
    ("D{}as_v6", "standardDav6Family", 4, 0.055, {**_NVME, "zones": ("2", "3")}),
    ("D{}ds_v6", "StandardDdsv6Family", 4, 0.072, {**_NVME, "nvme_disk": 56320}),
    ("D{}ps_v5", "standardDPSv5Family", 4, 0.046, {**_ARM, "has_trusted_launch": False}),
    ("D{}ps_v6", "StandardDpsv6Family", 4, 0.048, {**_ARM, "controllers": ("NVMe",)}),
    ("D{}plds_v5", "standardDPLDSv5Family", 2, 0.045, {**_ARM, "temporary_disk": 38400}),
    ("E{}s_v5", "standardESv5Family", 8, 0.075, {}),
    ("F{}s_v2", "standardFSv2Family", 2, 0.0485, {"temporary_disk": 8192}),
)
"""Series: name, family, GiB and price of a vCPU, and what else; local disks are of a vCPU, too."""


def _sizes() -> Iterator[Size]:
    for vcpus in (2, 4, 8, 16):
        for name, family, memory, price, more in _SERIES:
            of = {"data_disks": 2 * vcpus, **more}
            for disk in ("temporary_disk", "nvme_disk"):
                of[disk] = of.get(disk, 0) * vcpus
            of["nvme_disks"] = int(bool(of["nvme_disk"])) * (2 if vcpus > 8 else 1)
            of["nvme_disk"] //= of["nvme_disks"] or 1
            yield Size(
                f"Standard_{name.format(vcpus)}", family, vcpus, memory * vcpus, price * vcpus, **of
            )
    burst = "Standard_B"
    yield Size(f"{burst}1s", "standardBSFamily", 1, 1, 0.0124, data_disks=2, temporary_disk=4096)
    yield Size(f"{burst}2s", "standardBSFamily", 2, 4, 0.048, temporary_disk=8192)
    yield Size(f"{burst}2ats_v2", "standardBasv2Family", 2, 1, 0.0108)
    yield Size(f"{burst}2as_v2", "standardBasv2Family", 2, 8, 0.0832)
    yield Size(f"{burst}2s_v2", "standardBsv2Family", 2, 8, 0.0924)
    yield Size(f"{burst}2ts_v2", "standardBsv2Family", 2, 1, 0.012)
    yield Size(f"{burst}2pts_v2", "standardBpsv2Family", 2, 1, 0.0096, **_ARM)
    yield Size(  # of old
        "Standard_A0",
        "standardA0_A7Family",
        1,
        0.75,
        0.02,
        generations=("V1",),
        data_disks=1,
        is_low_priority_capable=False,
        has_premium_disks=False,
        temporary_disk=20480,
        locations=("westcentralus",),
    )
    yield Size("Standard_D2_v5", "standardDv5Family", 2, 8, 0.115, has_premium_disks=False)
    large: dict[str, Any] = {"data_disks": 16, "nvme_disks": 1, "nics": 4}
    yield Size("Standard_L8s_v3", "standardLSv3Family", 8, 64, 0.7, nvme_disk=1831055, **large)
    gpu: dict[str, Any] = {"gpus": 1, "data_disks": 8, "locations": _FEW}
    t4, a100 = "Standard NCASv3_T4 Family", "StandardNCADSA100v4Family"
    yield Size(
        "Standard_NC4as_T4_v3", t4, 4, 28, 0.6, zones=("1", "2"), temporary_disk=180224, **gpu
    )
    yield Size("Standard_NC24ads_A100_v4", a100, 24, 220, 4.5, zones=("2",), **_GEN2, **gpu)
    yield Size("Standard_NC6s_v3", "standardNCSv3Family", 6, 112, 3.06, zones=(), **gpu)


SIZES = {size.name: size for size in _sizes()}


def capabilities_of(size: Size) -> list[dict[str, str]]:
    """Return a size's capabilities, in the names and order of the list of resource SKUs."""
    given: dict[str, Any] = {
        "MaxResourceVolumeMB": size.temporary_disk,
        "OSVhdSizeMB": 1047552,
        "vCPUs": size.vcpus,
        "MemoryPreservingMaintenanceSupported": not size.gpus,
        "HyperVGenerations": ",".join(size.generations),
        "DiskControllerTypes": ",".join(size.controllers),
        "MemoryGB": f"{size.memory:g}",
        "MaxDataDiskCount": size.data_disks,
        "CpuArchitectureType": size.architecture,
        "LowPriorityCapable": size.is_low_priority_capable,
        "PremiumIO": size.has_premium_disks,
        "VMDeploymentTypes": "IaaS",
        "vCPUsAvailable": size.vcpus,
        "GPUs": size.gpus or "",
        "vCPUsPerCore": 1 if size.architecture == "Arm64" or size.gpus else 2,
        "NvmeDiskSizeInMiB": size.nvme_disks * size.nvme_disk or "",
        "NvmeSizePerDiskInMiB": size.nvme_disk or "",
        "EphemeralOSDiskSupported": bool(size.temporary_disk),
        "EncryptionAtHostSupported": True,
        "CapacityReservationSupported": False,
        "TrustedLaunchDisabled": "" if size.has_trusted_launch else True,
        "AcceleratedNetworkingEnabled": size.vcpus > 1,
        "RdmaEnabled": False,
        "MaxNetworkInterfaces": size.nics,
    }
    return [{"name": name, "value": str(value)} for name, value in given.items() if value != ""]
