"""Instance types: their size, and where EC2 offers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.errors import UsageError

from ._api import Api

_DEFAULTS = ("m7i.large", "m6i.large", "m5.large")  # general purpose, the newest first
_ARCHITECTURES = ("x86_64", "arm64")


@dataclass(frozen=True, slots=True)
class InstanceType:
    """An instance type. ``architecture`` is EC2's word: ``"x86_64"`` or ``"arm64"``.

    ``markets`` are the offered ones of ``"spot"`` and ``"on-demand"``; ``zones`` the
    availability zones of the region that offer it. Bare metal, ``is_metal``, boots slowly.
    ``local_nvme_gb`` is the size of its instance store, in units of 10⁹ bytes, and
    ``placement_strategies`` are those of placement groups that it supports.
    """

    name: str
    vcpus: int
    memory_bytes: int
    architecture: str
    markets: frozenset[str]
    zones: frozenset[str]
    is_metal: bool = False
    local_nvme_gb: int = 0
    placement_strategies: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.name} ({self.vcpus} vCPUs, {self.memory_bytes / (1 << 30):g} GiB)"


async def find_types(api: Api, names: Sequence[str]) -> list[InstanceType]:
    """Return the types of these names, in this order; without names, a default type.

    Raises `UsageError` for those that the region does not have.
    """
    found = await _describe(api, names or _DEFAULTS)
    if not names:
        return [*found.values()][:1]
    if unknown := [name for name in names if name not in found]:
        raise UsageError(
            f"instance_type: {', '.join(unknown)}: EC2 has no such type in {api.region}; list "
            f"all with `aws ec2 describe-instance-types --region {api.region}`"
        )
    if unsupported := [name for name in names if found[name].architecture not in _ARCHITECTURES]:
        raise UsageError(
            f"instance_type: {', '.join(unsupported)}: machines run Linux on "
            f"{' or '.join(_ARCHITECTURES)}, but that type is "
            f"{found[unsupported[0]].architecture}: name another"
        )
    return [found[name] for name in names]


async def _describe(api: Api, names: Sequence[str]) -> dict[str, InstanceType]:
    """Return those of these types that the region has, in order."""
    filters = [{"Name": "instance-type", "Values": [*names]}]
    # By a filter, which ignores unknown types; by name, one unknown type would be an error that
    # hides the others.
    raws = await api.read_all(
        "ec2:DescribeInstanceTypes", "InstanceTypes", Filters=filters, MaxResults=100
    )
    offers = await api.read_all(
        "ec2:DescribeInstanceTypeOfferings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=filters,
    )
    found: dict[str, InstanceType] = {}
    for raw in sorted(raws, key=lambda raw: names.index(raw["InstanceType"])):
        name = raw["InstanceType"]
        architectures = raw["ProcessorInfo"]["SupportedArchitectures"]
        found[name] = InstanceType(
            name=name,
            vcpus=raw["VCpuInfo"]["DefaultVCpus"],
            memory_bytes=raw["MemoryInfo"]["SizeInMiB"] << 20,
            # Old types also support i386, for which there are no current images.
            architecture=next(a for a in architectures if a != "i386"),
            markets=frozenset(raw["SupportedUsageClasses"]),
            zones=frozenset(o["Location"] for o in offers if o["InstanceType"] == name),
            is_metal=bool(raw.get("BareMetal")),
            local_nvme_gb=_local_nvme_gb(raw),
            placement_strategies=frozenset(
                raw.get("PlacementGroupInfo", {}).get("SupportedStrategies", ())
            ),
        )
    return found


def _local_nvme_gb(raw: Mapping[str, Any]) -> int:
    """Return the size of a type's instance store on NVMe.

    Any other is of types of before 2016, and has to be mapped in each launch request.
    """
    store = raw.get("InstanceStorageInfo") or {}
    return (
        int(store["TotalSizeInGB"])
        if store.get("NvmeSupport", "unsupported") != "unsupported"
        else 0
    )
