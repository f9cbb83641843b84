"""Capacity: how many more VMs each pool has room for, and what Azure answers if it has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.errors import ArmError

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

MANY = 1_000_000
GUIDANCE = "Read more about improving likelihood of allocation success at "
_LINK = "http://aka.ms/allocation-guidance"


@dataclass
class Capacity:
    """How many more VMs there are, by ``"MARKET SIZE LOCATION"``; else any number.

    A zone's pool has ``LOCATION-ZONE``, as ``"spot Standard_D2s_v5 westeurope-1"``.
    """

    arm: Arm
    left: dict[str, int] = field(default_factory=dict)
    code: str = ""
    """How a shortage is told; one of `CODES` at random if not said. All but the first are told by
    the operation, and a VM is left that failed."""

    def __setitem__(self, pool: str, count: int) -> None:
        self.left[pool] = count

    def check(self, vm: Mapping[str, Any]) -> None:
        """Refuse a request at once, where there is no room and Azure says so at once."""
        if self.room(pool_of(vm)) <= 0 and self._code_for(vm) == "SkuNotAvailable":
            raise CODES["SkuNotAvailable"](vm)

    def take(self, vm: Mapping[str, Any]) -> None:
        """Take room for a VM; raises `ArmError` where there is none."""
        pool = pool_of(vm)
        if self.room(pool) <= 0:
            raise CODES[self._code_for(vm)](vm)
        if pool in self.left:
            self.left[pool] -= 1

    def room(self, pool: str) -> int:
        """Return how many more VMs a pool has room for."""
        return self.left.get(pool, MANY)

    def _code_for(self, vm: Mapping[str, Any]) -> str:
        if self.code:
            return self.code
        likely = [code for code in CODES if ("Zonal" in code) is bool(vm.get("zones"))]
        likely.append("SkuNotAvailable")
        # One VM's shortage is told in one way, however often it is asked for.
        return likely[sum(str(vm["id"]).encode()) % len(likely)]


def pool_of(vm: Mapping[str, Any]) -> str:
    """Return where a VM's capacity is from, as ``spot Standard_D2s_v5 westeurope``."""
    market = "spot" if is_spot(vm) else "on-demand"
    place = "-".join([str(vm["location"]), *vm.get("zones", ())])
    return f"{market} {size_of(vm)} {place}"


def is_spot(vm: Mapping[str, Any]) -> bool:
    return vm["properties"].get("priority") in ("Spot", "Low")


def size_of(vm: Mapping[str, Any]) -> str:
    return str(vm["properties"]["hardwareProfile"]["vmSize"])


def _not_available(vm: Mapping[str, Any]) -> ArmError:
    """Return what it answers at once (Azure-Samples/azuresandbox#70)."""
    text = (
        "The requested VM size for resource 'Following SKUs have failed for Capacity "
        f"Restrictions: {size_of(vm)}' is currently not available in location '{vm['location']}'. "
        "Please try another size or deploy to a different location or different zone. See "
        "https://aka.ms/azureskunotavailable for details."
    )
    return ArmError(409, "SkuNotAvailable", text)


def _allocation_failed(vm: Mapping[str, Any]) -> ArmError:
    """Return "Resolve allocation failures"'s own words, as in dstackai/dstack#3699."""
    text = (
        "Allocation failed. We do not have sufficient capacity for the requested VM size in this "
        f"region. {GUIDANCE}{_LINK}"
    )
    return ArmError(409, "AllocationFailed", text)


def _zonal_allocation_failed(vm: Mapping[str, Any]) -> ArmError:
    """Return those of Azure/karpenter-provider-azure's ``pkg/fake/aksmachinesapi.go``."""
    text = (
        f"Allocation failed. We do not have sufficient capacity for the requested VM size "
        f"{size_of(vm)} in zone {vm['zones'][0]}. {GUIDANCE}{_LINK}"
    )
    return ArmError(409, "ZonalAllocationFailed", text)


def _overconstrained(vm: Mapping[str, Any]) -> ArmError:
    """Return those of karpenter-provider-azure, too: the lines depend on what was asked for."""
    lines = ["Networking Constraints (such as Accelerated Networking or IPv6)", "VM Size"]
    if is_spot(vm):
        preemptible = "Preemptible VMs (VM might be preempted by another VM with a higher priority)"
        lines = ["Low Priority VMs", lines[0], preemptible, lines[1]]
    if vm.get("zones"):
        lines.insert(0, "Availability Zone")
    text = (
        "Allocation failed. VM(s) with the following constraints cannot be allocated, because the "
        "condition is too restrictive. Please remove some constraints and try again. Constraints "
        "applied are:\n" + "".join(f"  - {line}\n" for line in lines)
    )
    kind = "ZonalAllocationRequest" if vm.get("zones") else "AllocationRequest"
    return ArmError(409, f"Overconstrained{kind}", text)


CODES: dict[str, Callable[[Mapping[str, Any]], ArmError]] = {
    "SkuNotAvailable": _not_available,
    "AllocationFailed": _allocation_failed,
    "OverconstrainedAllocationRequest": _overconstrained,
    "ZonalAllocationFailed": _zonal_allocation_failed,
    "OverconstrainedZonalAllocationRequest": _overconstrained,
}
"""What Azure says where it has no such VMs."""
