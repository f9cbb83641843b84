"""What an error of Compute Engine rules out for the next launches."""

from __future__ import annotations

from bigmachine.cloud import Scope

from ..api._errors import GcpError

_OF_METHOD = ("invalid", "INTERNAL_ERROR", "backendError", "internalError")
"""Codes that a regional request may have where zonal ones succeed (cluster-toolkit, pull
request 3005). If it was the request, the zonal one fails alike."""


def scope_of(error: GcpError, *, market: str) -> Scope:
    """Return what an error rules out that a launch on ``market`` had."""
    if error.reasons & {"IP_SPACE_EXHAUSTED", "IP_SPACE_EXHAUSTED_WITH_DETAILS"}:
        return Scope.ALL  # the subnetwork is the same in all zones
    if error.is_capacity:
        return Scope.POOL
    if error.is_quota:
        return _scope_of_quota(error)
    if market == "spot" and error.is_denied:
        return Scope.MARKET  # a policy may deny spot instances alone
    if error.code in _OF_METHOD or (500 <= error.status < 600 and not error.is_outcome_unknown):
        return Scope.METHOD
    return Scope.ALL


def _scope_of_quota(error: GcpError) -> Scope:
    """Return what a used-up quota rules out: each is of a market, of types, or of all.

    Its name is in the error's details, or only in the message: "Quota 'N2_CPUS' exceeded."
    """
    text = f"{error.quota.metric if error.quota else ''} {error.message}".upper()
    if "ALL_REGIONS" in text:
        return Scope.ALL
    if "PREEMPTIBLE" in text:
        return Scope.MARKET
    if "CPUS" in text or "GPUS" in text:
        return Scope.TYPE_ON_ALL_MARKETS if "PER_VM_FAMILY" not in text else Scope.TYPE
    return Scope.ALL  # addresses, disks, instances
