"""Machine types: their size, and where Compute Engine offers them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.cloud import for_each, nearest_name
from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import GcpError

# Types with 2 vCPUs and 8 GiB. E2 comes first: its vCPUs count against the quota CPUS, which every
# project has ("Allocation quotas"), and no series is offered in more zones.
_DEFAULTS = ("e2-standard-2", "n2-standard-2", "n2d-standard-2", "n1-standard-2")
_ARM_SERIES = frozenset({"a4x", "c4a", "n4a", "t2a"})
_ARCHITECTURES = ("X86_64", "ARM64")
# "Spot VMs don't support … the A4X machine series, bare metal instances" ("Spot VMs").
_SERIES_WITHOUT_SPOT = frozenset({"a4x"})
# By "Consumption option availability by machine type" of the accelerator-optimized machines, as
# dstackai has found it (dstack pull request 3100, gpuhunt pull request 176): A4, and A3 High with
# less than 8 GPUs, although prices for them on demand exist.
_WITHOUT_ON_DEMAND = re.compile(r"a4-.*|a3-highgpu-[124]g")
_CUSTOM = re.compile(r"([a-z]\w*-)?custom-")


@dataclass(frozen=True, slots=True)
class MachineType:
    """A machine type. ``architecture`` is Google's word: ``"X86_64"`` or ``"ARM64"``.

    ``zones`` are those that offer it. ``accelerators`` and ``local_ssds`` come with it: names and
    numbers of GPUs, and the number of local SSDs. ``max_disk_gb`` is how large its persistent disks
    may be together; 0 if unknown.
    """

    name: str
    vcpus: int
    memory_bytes: int
    architecture: str
    zones: frozenset[str]
    accelerators: tuple[tuple[str, int], ...] = ()
    local_ssds: int = 0
    max_disk_gb: int = 0

    @property
    def series(self) -> str:
        """The machine series, in lowercase: ``"n2d"``."""
        first = self.name.partition("-")[0]
        return "n1" if first in ("custom", "f1", "g1") else first

    @property
    def is_metal(self) -> bool:
        """Whether it is a whole computer, without a hypervisor."""
        return self.name.endswith("-metal")

    @property
    def markets(self) -> frozenset[str]:
        """Those of ``"spot"`` and ``"on-demand"`` on which it is sold."""
        if self.is_metal or self.series in _SERIES_WITHOUT_SPOT:
            return frozenset({"on-demand"})
        if _WITHOUT_ON_DEMAND.fullmatch(self.name):
            return frozenset({"spot"})
        return frozenset({"on-demand", "spot"})

    def __str__(self) -> str:
        return f"{self.name} ({self.vcpus} vCPUs, {self.memory_bytes / (1 << 30):g} GiB)"


async def find_types(
    api: Api, names: Sequence[str], *, region: str, zones: Collection[str]
) -> list[MachineType]:
    """Return the types of these names, in this order; without names, a default type.

    ``zones`` are those of the region that may be used. Raises `UsageError` for a name that no zone
    offers, or none of these; `GcpError`.
    """
    if not names:
        found = await describe_types(api, _DEFAULTS, zones=zones)
        for name in _DEFAULTS:
            if name in found and found[name].zones.intersection(zones):
                return [found[name]]
        raise UsageError(
            f"machine_type: no default type ({', '.join(_DEFAULTS)}) is offered in "
            f"{', '.join(sorted(zones))}: name a type, or other zones. {_list_all(zones)}"
        )
    found = await describe_types(api, names, zones=zones)
    for name in names:
        if name not in found:
            hint = await _hint(api, name, zones)
            raise UsageError(
                f"machine_type: no zone offers {name!r} to this project; {hint} {_list_all(zones)}"
            )
        _check_type(found[name], region=region, zones=zones)
    return [found[name] for name in names]


async def describe_types(
    api: Api, names: Sequence[str], *, zones: Collection[str]
) -> dict[str, MachineType]:
    """Return those of these types that some zone offers, by name.

    Custom types, which are in no list, are looked for in ``zones`` only. Raises `GcpError`.
    """
    listed = [name for name in dict.fromkeys(names) if not _CUSTOM.match(name)]
    raws: list[Any] = []
    if listed:
        # A zone that can't be seen now has nothing to sell either.
        raws += await api.read_all(
            "machine_types.aggregated_list",
            filter=" OR ".join(f'(name = "{name}")' for name in listed),
            allow_unreachable=True,
        )
    custom = [(zone, name) for name in names if _CUSTOM.match(name) for zone in zones]

    async def fetch(place: tuple[str, str]) -> None:
        zone, name = place
        try:
            raws.append(await api.read("machine_types.get", zone=zone, machine_type=name))
        except GcpError as error:
            # A custom size that its series can't have is an invalid value.
            if not (error.is_not_found or error.code == "invalid"):
                raise

    await for_each(custom, fetch)
    by_name: dict[str, dict[str, Any]] = {}
    for raw in raws:
        # An obsolete type can't be used ("DeprecationStatus"), a deprecated one can.
        if raw.deprecated.state not in ("OBSOLETE", "DELETED"):
            by_name.setdefault(raw.name, {})[raw.zone.rpartition("/")[2]] = raw
    return {name: _type_from(of_zone) for name, of_zone in by_name.items()}


def _type_from(raws: Mapping[str, Any]) -> MachineType:
    """Return a type from Google's answers, by zone: they differ in nothing else."""
    raw = next(iter(raws.values()))
    series = raw.name.partition("-")[0]
    architecture = raw.architecture
    if architecture not in _ARCHITECTURES:  # "ARCHITECTURE_UNSPECIFIED", or nothing
        architecture = "ARM64" if series in _ARM_SERIES else "X86_64"
    return MachineType(
        name=raw.name,
        vcpus=raw.guest_cpus,
        memory_bytes=raw.memory_mb << 20,
        architecture=architecture,
        zones=frozenset(raws),
        accelerators=tuple(
            (each.guest_accelerator_type, each.guest_accelerator_count) for each in raw.accelerators
        ),
        local_ssds=raw.bundled_local_ssds.partition_count,
        max_disk_gb=int(raw.maximum_persistent_disks_size_gb),
    )


def _check_type(found: MachineType, *, region: str, zones: Collection[str]) -> None:
    if found.zones.intersection(zones):
        return
    chosen = ", ".join(sorted(zones))
    if here := sorted(zone for zone in found.zones if zone.rpartition("-")[0] == region):
        raise UsageError(
            f"machine_type: {found.name} is not offered in {chosen}, but in {', '.join(here)}: "
            f"name one of these zones, or another type"
        )
    regions = sorted({zone.rpartition("-")[0] for zone in found.zones})
    raise UsageError(
        f"machine_type: {found.name} is not offered in {chosen}, but in {_some(regions)}: name "
        f"one of these regions, or another type. {_list_all(zones)}"
    )


async def _hint(api: Api, name: str, zones: Collection[str]) -> str:
    """Return what may be meant by a type that no zone offers."""
    if _CUSTOM.match(name):
        return "a custom type is SERIES-custom-VCPUS-MIB, with what the series can have."
    try:
        listed = await api.read_all("machine_types.list", zone=min(zones))
    except GcpError:
        listed = []
    return nearest_name(name, (raw.name for raw in listed), example="n2-standard-4")


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _list_all(zones: Collection[str]) -> str:
    return f"List all with `gcloud compute machine-types list --zones={','.join(sorted(zones))}`"
