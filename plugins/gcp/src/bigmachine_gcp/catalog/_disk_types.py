"""Which disks a machine type can have: types of persistent disks, and numbers of local SSDs."""

from __future__ import annotations

from bigmachine.errors import UsageError

from ._machine_types import MachineType

BALANCED = "pd-balanced"
HYPERDISK = "hyperdisk-balanced"

# The types that can hold an operating system, by series, as in the map of Kubernetes' driver for
# persistent disks (gcp-compute-persistent-disk-csi-driver, machine-pd-compatibility.json).
# "Hyperdisk" of the Compute Engine documentation has no more for n2 and a2. The series n4 and c4a
# are left out, although the map names persistent disks for them, which users were refused
# (openshift/release pull request 84091), and so is pd-standard for g2 ("Create VMs in bulk that use
# G2 machine types", "Limitations").
_PERSISTENT = ("pd-balanced", "pd-ssd", "pd-standard")
_SOLID_STATE = ("pd-balanced", "pd-ssd")
_DISK_TYPES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("a2", "c2", "c2d", "e2", "n1", "n2", "n2d", "t2a", "t2d"), _PERSISTENT),
    **dict.fromkeys(("a3", "c3", "c3d", "z3"), (*_SOLID_STATE, HYPERDISK)),
    **dict.fromkeys(("m1", "m2", "m3"), (*_PERSISTENT, HYPERDISK)),
    "g2": _SOLID_STATE,
    "h3": (BALANCED, HYPERDISK),
}
# "Hyperdisk Extreme", "Throughput" and "ML" can't be boot disks ("Hyperdisk", "Limitations").

# "Choose a valid number of Local SSD disks": the numbers that a type may have, by the most vCPUs.
_LOCAL_SSDS: dict[str, tuple[tuple[int, tuple[int, ...]], ...]] = {
    "n1": ((96, (1, 2, 3, 4, 5, 6, 7, 8, 16, 24)),),
    "n2": (
        (10, (1, 2, 4, 8, 16, 24)),
        (20, (2, 4, 8, 16, 24)),
        (40, (4, 8, 16, 24)),
        (80, (8, 16, 24)),
        (128, (16, 24)),
    ),
    "n2d": (
        (16, (1, 2, 4, 8, 16, 24)),
        (48, (2, 4, 8, 16, 24)),
        (80, (4, 8, 16, 24)),
        (224, (8, 16, 24)),
    ),
    "c2": ((8, (1, 2, 4, 8)), (16, (2, 4, 8)), (30, (4, 8)), (60, (8,))),
    "c2d": ((16, (1, 2, 4, 8)), (32, (2, 4, 8)), (56, (4, 8)), (112, (8,))),
    "g2": ((16, (1,)), (24, (2,)), (32, (1,)), (48, (4,)), (96, (8,))),
    "g4": ((12, (1,)), (24, (2,)), (48, (4,)), (96, (8,)), (192, (16,)), (384, (32,))),
    "m3": ((64, (4, 8)), (128, (8,))),
}
_LOCAL_SSDS_BY_NAME: dict[str, tuple[int, ...]] = {
    "a2-highgpu-1g": (1, 2, 4, 8),
    "a2-highgpu-2g": (2, 4, 8),
    "a2-highgpu-4g": (4, 8),
    "a2-highgpu-8g": (8,),
    "a2-megagpu-16g": (8,),
    "f1-micro": (),
    "g1-small": (),
    "g4-standard-6": (),
    "m1-ultramem-40": (1, 2, 3, 4, 5),
    "m1-ultramem-80": (1, 2, 3, 4, 5, 6, 7, 8),
}
_GIB = 375  # of a local SSD; those of the series below have others
_LARGE_GIB = {"a4x": 3000, "z3": 3000}


def disk_types(machine_type: MachineType) -> tuple[str, ...]:
    """Return the types that its boot disk and its data disks can have, the default one first."""
    if machine_type.is_metal or machine_type.name.startswith("a3-ultragpu-"):
        return (HYPERDISK,)
    return _DISK_TYPES.get(machine_type.series, (HYPERDISK,))


def disk_type(machine_type: MachineType, *, requested: str) -> str:
    """Return the type of its disks, by the option ``disk_type``. Raises `UsageError`."""
    possible = disk_types(machine_type)
    if not requested:
        return possible[0]
    if requested in possible:
        return requested
    if machine_type.series not in _DISK_TYPES and not requested.startswith("pd-"):
        return requested  # of a series that is newer than this list
    raise UsageError(
        f"disk_type: the boot disk of {machine_type.name} can't be of type {requested!r}, but of "
        f"{' or '.join(possible)}: name one of these, or omit it"
    )


def local_ssds(machine_type: MachineType) -> int:
    """Return how many local SSDs an instance has with ``local_disks``.

    It is the number that comes with the type, or the least that can be attached, or 0.
    """
    return machine_type.local_ssds or min(attachable_local_ssds(machine_type), default=0)


def attachable_local_ssds(machine_type: MachineType) -> tuple[int, ...]:
    """Return how many local SSDs can be attached: none if some come with the type."""
    if machine_type.local_ssds:
        return ()
    if machine_type.name in _LOCAL_SSDS_BY_NAME:
        return _LOCAL_SSDS_BY_NAME[machine_type.name]
    for vcpus, numbers in _LOCAL_SSDS.get(machine_type.series, ()):
        if machine_type.vcpus <= vcpus:
            return numbers
    return ()


def local_ssd_gib(machine_type: MachineType) -> int:
    """Return the size of each of its local SSDs."""
    if machine_type.is_metal and machine_type.series in ("c4", "z3"):
        return {"c4": 3000, "z3": 6000}[machine_type.series]
    return _LARGE_GIB.get(machine_type.series, _GIB)
