"""What an error of Azure rules out for the next launches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bigmachine.cloud import Scope

from ..api._errors import AzureError


def _codes(*codes: str) -> frozenset[str]:
    return frozenset(code.lower() for code in codes)


# What karpenter-provider-azure rules out for each (pkg/providers/instance/offerings).
_IN_LOCATION = _codes(
    "AllocationFailed",  # "… sufficient capacity for the requested VM size in this region"
    "OverconstrainedAllocationRequest",  # the same, for such disks or networks
)
_OF_SPOT_SIZE = _codes(  # "Error messages for Azure Spot Virtual Machines and scale sets"
    "SpotPriceGreaterThanProvidedMaxPrice",
    "AzureSpotIsNotSupportedForThisVMSize",
)
_OF_SPOT = _codes("AzureSpotFeatureNotEnabledForSubscription")
_OF_ZONE = _codes(
    "AvailabilityZoneNotSupported",
    "InvalidAvailabilityZone",
    "ResourceTypeNotSupportAvailabilityZones",
    "LocationNotSupportAvailabilityZones",
)
_OF_ADDRESSES = re.compile(r"subnetisfull|public-?ip")

# Of a request that is right but for its size: "The selected VM size 'Standard_D2_v2' cannot boot
# Hypervisor Generation '2'." (juju, provider/azure); "The VM size 'Standard_D8s_v6' cannot boot
# with OS image or disk. …" ("NVMe FAQ"); "Cannot create a VM of size 'X' because this VM size only
# supports a CPU Architecture of 'Arm64', …"; "The maximum number of data disks allowed to be
# attached to a VM of this size is 4."
_OF_SIZE = re.compile(r"\bVM (of |of this )?size\b", re.I)
# Of an operation that failed without a fault of the request: others may succeed.
_OF_OPERATION = re.compile(r"internal|timed?-?out|^(failed|canceled|evicted|ended|unfinished)$")
_QUOTA_USAGE = re.compile(r"Current Limit: (\d+), Current Usage: (\d+)", re.I)
_POLICY_OF_SIZE = re.compile(
    r"\.(vmSize|sku\.name)$|^Microsoft\.Compute/virtualMachines/sku\.name$", re.I
)
_POLICY_OF_MARKET = re.compile(r"[./](priority|evictionPolicy)$", re.I)


def scope_of(error: AzureError, *, market: str) -> Scope:
    """Return what an error rules out that a launch on ``market`` had."""
    codes = error.codes
    if error.is_policy:
        return _scope_of_policy(error)
    if codes & _OF_SPOT_SIZE:
        return Scope.TYPE  # the price of a spot VM is the same in all zones
    if codes & _OF_SPOT:
        return Scope.MARKET
    if codes & _OF_ZONE:
        return Scope.ZONE
    if error.is_capacity:
        return Scope.TYPE if codes & _IN_LOCATION else Scope.POOL
    if error.is_quota:
        return _scope_of_quota(error)
    if error.status in (400, 409) and _OF_SIZE.search(error.message):
        return Scope.TYPE_ON_ALL_MARKETS
    if error.is_operation and any(_OF_OPERATION.search(code) for code in codes):
        return Scope.POOL
    if market == "spot" and error.is_denied:
        return Scope.MARKET  # a deny assignment may be about spot VMs alone
    return Scope.ALL


def _scope_of_quota(error: AzureError) -> Scope:
    """Return what a used-up quota rules out: of cores, or of what all VMs need.

    "Operation could not be completed as it results in exceeding approved standardDSv5Family Cores
    quota. Additional details - …, Current Limit: 10, Current Usage: 8, Additional Required: 4, …";
    so for "Total Regional Cores", which spot VMs don't count in, and for "LowPriorityCores", which
    only they do. Where some cores are left, a smaller size may find room.
    """
    if any(_OF_ADDRESSES.search(code) for code in error.codes):
        return Scope.ALL
    text = error.message.lower()
    if "cores quota" not in text:
        return Scope.ALL  # of disks, interfaces, VMs
    usage = _QUOTA_USAGE.search(error.message)
    is_full = usage is not None and int(usage[1]) <= int(usage[2])
    is_of_all_sizes = "total regional" in text or "lowprioritycores" in text
    return Scope.MARKET if is_full and is_of_all_sizes else Scope.TYPE


def _scope_of_policy(error: AzureError) -> Scope:
    """Return what a policy forbids: some sizes, a market, or all such VMs.

    Its evaluation names the fields that it looked at: "Allowed virtual machine size SKUs" looks at
    Microsoft.Compute/virtualMachines/sku.name (karpenter-provider-azure issue 794).
    """
    fields = [field for policy in error.policies for field in _fields(policy)]
    if any(_POLICY_OF_SIZE.search(field) for field in fields):
        return Scope.TYPE_ON_ALL_MARKETS
    if any(_POLICY_OF_MARKET.search(field) for field in fields):
        return Scope.MARKET
    return Scope.ALL


def _fields(policy: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields that made a policy's rule apply, which ARM's answer may name."""
    details = policy.get("evaluationDetails")
    evaluated = details.get("evaluatedExpressions") if isinstance(details, Mapping) else None
    for each in evaluated if isinstance(evaluated, list) else []:
        if isinstance(each, Mapping):
            yield from (str(each[key]) for key in ("expression", "path") if each.get(key))
