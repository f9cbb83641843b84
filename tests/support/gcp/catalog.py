"""What Compute Engine offers, and where: regions, zones, machine types, GPUs and types of disks.

A small part of what there is, by Google's pages "Regions and zones", "General-purpose machine
family", "GPU machine types" and "Choose a disk type", from which the figures are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

ZONES = tuple(
    f"{region}-{letter}"
    for region, letters in {"europe-west4": "abc", "us-central1": "abcf", "us-east1": "bcd"}.items()
    for letter in letters
)
REGIONS = tuple(sorted({zone.rpartition("-")[0] for zone in ZONES}))
RANGES = {
    "europe-west4": "10.164.0.0/20",
    "us-central1": "10.128.0.0/20",
    "us-east1": "10.142.0.0/20",
}
"""Those of the subnetworks of networks in auto mode."""

_NO_T2A = ("us-central1-c", *(zone for zone in ZONES if zone.startswith("us-east1")))
_FEW = ("us-central1-f", "us-east1-b")


@dataclass(frozen=True)
class MachineType:
    """A machine type; memory in MiB."""

    name: str
    cpus: int
    memory: int
    architecture: str = "X86_64"
    gpu: tuple[str, int] | None = None
    local_ssds: int = 0
    """That are part of it."""
    is_shared: bool = False
    not_in: tuple[str, ...] = ()

    @property
    def series(self) -> str:
        return self.name.partition("-")[0]


@dataclass(frozen=True)
class Gpu:
    name: str
    description: str
    most: int
    zones: tuple[str, ...]
    memory: int = 0


def _types() -> Iterator[MachineType]:
    for name, memory in {"e2-micro": 1024, "e2-small": 2048, "e2-medium": 4096}.items():
        yield MachineType(name, 2, memory, is_shared=True)
    yield MachineType("f1-micro", 1, 614, is_shared=True)
    for cpus in (2, 4, 8, 16):
        yield MachineType(f"e2-standard-{cpus}", cpus, cpus * 4096)
        yield MachineType(f"e2-highcpu-{cpus}", cpus, cpus * 1024)
        yield MachineType(f"n1-standard-{cpus}", cpus, cpus * 3840)
        yield MachineType(f"n2-standard-{cpus}", cpus, cpus * 4096)
        yield MachineType(f"n2-highcpu-{cpus}", cpus, cpus * 1024)
        yield MachineType(f"n2-highmem-{cpus}", cpus, cpus * 8192)
        yield MachineType(f"n2d-standard-{cpus}", cpus, cpus * 4096)
        yield MachineType(f"n4-standard-{cpus}", cpus, cpus * 4096)
        yield MachineType(f"c4-standard-{cpus}", cpus, _c4_memory(cpus))
        yield MachineType(f"c4-highcpu-{cpus}", cpus, cpus * 2048)
        yield MachineType(f"c4a-standard-{cpus}", cpus, cpus * 4096, "ARM64", not_in=_FEW)
        yield MachineType(f"t2a-standard-{cpus}", cpus, cpus * 4096, "ARM64", not_in=_NO_T2A)
        yield MachineType(f"t2d-standard-{cpus}", cpus, cpus * 4096)
    yield MachineType("c4a-standard-1", 1, 4096, "ARM64", not_in=_FEW)
    yield MachineType("t2a-standard-1", 1, 4096, "ARM64", not_in=_NO_T2A)
    yield MachineType("n1-standard-1", 1, 3840)
    yield MachineType("n2-standard-80", 80, 80 * 4096)
    for cpus, ssds in {4: 1, 8: 2, 22: 4}.items():
        yield MachineType(f"c3-standard-{cpus}", cpus, cpus * 4096)
        yield MachineType(f"c3-highcpu-{cpus}", cpus, cpus * 2048)
        yield MachineType(f"c3-standard-{cpus}-lssd", cpus, cpus * 4096, local_ssds=ssds)
        yield MachineType(f"c3d-standard-{cpus}", cpus, cpus * 4096)
    yield MachineType("c4a-standard-4-lssd", 4, 16384, "ARM64", local_ssds=1, not_in=_FEW)
    for cpus in (4, 8, 16):
        yield MachineType(f"c2-standard-{cpus}", cpus, cpus * 4096)
    for cpus, gpus in {4: 1, 8: 1, 24: 2}.items():
        name = f"g2-standard-{cpus}"
        yield MachineType(name, cpus, cpus * 4096, gpu=("nvidia-l4", gpus), not_in=_FEW)
    for gpus in (1, 2):
        gpu = ("nvidia-tesla-a100", gpus)
        yield MachineType(f"a2-highgpu-{gpus}g", 12 * gpus, 87040 * gpus, gpu=gpu, not_in=_FEW)
    gpu = ("nvidia-a100-80gb", 1)
    yield MachineType("a2-ultragpu-1g", 12, 174080, gpu=gpu, local_ssds=1, not_in=_FEW)


def _c4_memory(cpus: int) -> int:
    return 7168 if cpus == 2 else cpus * 3840


MACHINE_TYPES = {of.name: of for of in _types()}

_WITH_T4 = tuple(z for z in ZONES if z not in ("europe-west4-a", "us-east1-b"))
GPUS = {
    of.name: of
    for of in (
        Gpu("nvidia-tesla-t4", "NVIDIA T4", 4, _WITH_T4),
        Gpu("nvidia-tesla-v100", "NVIDIA V100", 8, ("us-central1-a", "us-central1-f")),
        Gpu("nvidia-l4", "NVIDIA L4", 8, tuple(z for z in ZONES if z not in _FEW)),
        Gpu("nvidia-tesla-a100", "NVIDIA A100 40GB", 16, tuple(z for z in ZONES if z not in _FEW)),
        Gpu("nvidia-a100-80gb", "NVIDIA A100 80GB", 8, ("us-central1-a", "us-central1-c")),
    )
}


@dataclass(frozen=True)
class DiskType:
    """A type of disks; sizes in GB."""

    name: str
    description: str
    least: int
    most: int = 65536
    default: int = 100


DISK_TYPES = {
    of.name: of
    for of in (
        DiskType("pd-standard", "Standard Persistent Disk", 10, default=500),
        DiskType("pd-balanced", "Balanced Persistent Disk", 10),
        DiskType("pd-ssd", "SSD Persistent Disk", 10),
        DiskType("pd-extreme", "Extreme Persistent Disk", 500, default=1000),
        DiskType("hyperdisk-balanced", "Hyperdisk Balanced", 4),
        DiskType("hyperdisk-throughput", "Hyperdisk Throughput", 2048, 32768, 2048),
        DiskType("hyperdisk-extreme", "Hyperdisk Extreme", 64, default=1000),
        DiskType("hyperdisk-ml", "Hyperdisk ML", 4),
        DiskType("local-ssd", "Local SSD", 375, 375, 375),
    )
}

WITHOUT_PD = ("a4", "a4x", "c4", "c4a", "c4d", "g4", "h4d", "m4", "n4", "n4a", "n4d", "x4")
WITHOUT_HYPERDISK = ("c2", "c2d", "e2", "f1", "g1", "g2", "n1", "n2", "n2d", "t2a", "t2d")
"""Series that can't boot from such disks (gcp-compute-persistent-disk-csi-driver's map; N2 by
rancher/harvester-cloud#249)."""
WITHOUT_STANDARD_PD = ("c3", "c3d", "g2")
"""Series that take other types of Persistent Disk only ("C3 machine series", "C3D machine series",
"Create VMs in bulk that use G2 machine types")."""
SERIES_WITHOUT_SPOT = ("a4x",)
"""Series of which there are no Spot VMs, as there are none of bare metal ("Spot VMs")."""
WITHOUT_ON_DEMAND = ("a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g", "a4-highgpu-8g")
"""Machine types that are sold as Spot VMs, by Flex-start and by reservations only
(dstackai/gpuhunt#176)."""


@dataclass
class Catalog:
    """What is offered: a test may change it."""

    machine_types: dict[str, MachineType] = field(default_factory=lambda: dict(MACHINE_TYPES))
    not_offered: set[tuple[str, str]] = field(default_factory=set)
    """More (machine type, zone) pairs that are not offered."""
    deprecated: dict[str, str] = field(default_factory=dict)
    """Machine types that are deprecated, and their state, as ``DEPRECATED``."""
    zones_down: set[str] = field(default_factory=set)
    """Zones whose status is DOWN."""

    def offers(self, machine_type: str, zone: str) -> bool:
        of = self.machine_types.get(machine_type)
        pair = (machine_type, zone)
        return of is not None and zone not in of.not_in and pair not in self.not_offered

    def fields(self, of: MachineType) -> dict[str, Any]:
        """Return what Compute Engine says of a machine type, but where it is."""
        document: dict[str, Any] = {
            "kind": "compute#machineType",
            "name": of.name,
            "description": f"{of.cpus} vCPUs {of.memory / 1024:g} GB RAM",
            "creationTimestamp": "1969-12-31T16:00:00.000-08:00",
            "guestCpus": of.cpus,
            "memoryMb": of.memory,
            "imageSpaceGb": 0,
            "maximumPersistentDisks": 16 if of.is_shared else 128,
            "maximumPersistentDisksSizeGb": "3072" if of.is_shared else "263168",
            "isSharedCpu": of.is_shared,
            "architecture": of.architecture,
        }
        if of.gpu:
            kind, count = of.gpu
            document["accelerators"] = [
                {"guestAcceleratorType": kind, "guestAcceleratorCount": count}
            ]
        if of.local_ssds:
            document["bundledLocalSsds"] = {
                "partitionCount": of.local_ssds,
                "defaultInterface": "NVME",
            }
        if of.name in self.deprecated:
            document["deprecated"] = {"state": self.deprecated[of.name]}
        return document
