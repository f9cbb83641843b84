"""Instance types: their size, and where EC2 offers them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.errors import UsageError

from ..api._api import Api

# Types with 2 vCPUs and 8 GiB, the newest first; t3 is in all regions and most local zones.
_DEFAULTS = ("m7i.large", "m6i.large", "m5.large", "t3.large")
# Accounts on the free plan get these and smaller ones only. EC2 says of no other account's that
# they are eligible: accounts before July 2025 have t2.micro or t3.micro ("Track your Free Tier
# usage for Amazon EC2", and RhinoSecurityLabs/cloudgoat issue 375).
_FREE_DEFAULTS = ("m7i-flex.large", "c7i-flex.large")
_ARCHITECTURES = ("x86_64", "arm64")


@dataclass(frozen=True, slots=True)
class InstanceType:
    """An instance type. ``architecture`` is EC2's word: ``"x86_64"`` or ``"arm64"``.

    ``markets`` are the offered ones of ``"spot"`` and ``"on-demand"``; ``zones`` the
    availability zones of the region that offer it. Bare metal, ``is_metal``, boots slowly.
    ``is_free`` is whether the account's free tier includes it, and ``is_burstable`` whether it is
    billed for more CPU than its baseline.
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
    is_free: bool = False
    local_nvme_gb: int = 0
    placement_strategies: frozenset[str] = frozenset()
    is_burstable: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.vcpus} vCPUs, {self.memory_bytes / (1 << 30):g} GiB)"


async def find_types(
    api: Api, names: Sequence[str], *, zones: Collection[str], markets: Collection[str]
) -> list[InstanceType]:
    """Return the types of these names, in this order; without names, a default type.

    The default is one that some of these zones offer on some of these markets: of the account's
    free tier, if that includes types of this size. Raises `UsageError` for names that the region
    does not have, and if there is no default.
    """
    if not names:
        found = await _describe(api, (*_FREE_DEFAULTS, *_DEFAULTS))
        return [_default(found, zones=zones, markets=markets, region=api.region)]
    found = await _describe(api, names)
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


def _default(
    found: Mapping[str, InstanceType],
    *,
    zones: Collection[str],
    markets: Collection[str],
    region: str,
) -> InstanceType:
    free = [found[name] for name in _FREE_DEFAULTS if name in found and found[name].is_free]
    for each in (*free, *(found[name] for name in _DEFAULTS if name in found)):
        if each.zones.intersection(zones) and each.markets.intersection(markets):
            return each
    listed = ", ".join(sorted(zones))
    raise UsageError(
        f"instance_type: no default type ({', '.join(_DEFAULTS)}) is offered in {listed}, where "
        f"the subnets are: name a type, or subnets elsewhere. List the types there with "
        f"`aws ec2 describe-instance-type-offerings --region {region} --location-type "
        f"availability-zone --filters Name=location,Values={listed.replace(' ', '')}`"
    )


async def _describe(api: Api, names: Sequence[str]) -> dict[str, InstanceType]:
    """Return those of these types that the region has, in order."""
    filters = [{"Name": "instance-type", "Values": [*names]}]
    # By a filter, which ignores unknown types; by name, one unknown type would be an error that
    # hides the others.
    raws = await api.read_all("ec2:DescribeInstanceTypes", "InstanceTypes", Filters=filters)
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
            is_free=bool(raw.get("FreeTierEligible")),
            local_nvme_gb=_local_nvme_gb(raw),
            placement_strategies=frozenset(
                raw.get("PlacementGroupInfo", {}).get("SupportedStrategies", ())
            ),
            # "T2 instances are launched as standard by default", all others as unlimited
            # ("Unlimited mode for burstable performance instances").
            is_burstable=bool(raw.get("BurstablePerformanceSupported"))
            and not name.startswith("t2."),
        )
    return found


def is_in_region(zone: str, region: str) -> bool:
    """Whether this is one of the region's own zones, not a Local or a Wavelength Zone of it.

    The names of these have more than a letter: ``us-west-2-lax-1a`` ("AWS Local Zones").
    """
    return len(zone) == len(region) + 1 and zone.startswith(region)


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
