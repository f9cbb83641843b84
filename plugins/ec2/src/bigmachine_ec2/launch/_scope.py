"""What an error of EC2 rules out for the next launches."""

from __future__ import annotations

from bigmachine.cloud import Scope

from ..api._errors import AwsError


def scope_of(error: AwsError, *, market: str) -> Scope:
    """Return what an error rules out that a launch on ``market`` had."""
    if error.is_capacity:
        return Scope.POOL
    if error.is_fleet_refused:
        return Scope.METHOD
    if error.is_type_refused:
        # Some types are not for spot; what the free plan has not, it has on no market.
        return Scope.TYPE_ON_ALL_MARKETS if error.outside_free_plan else Scope.TYPE
    # What denies a spot instance may deny spot instances alone: a missing role, an organization's
    # policy, or a KMS key that spot's role has no grant for ("Spot Instance permissions"). On
    # demand, the same answer then shows that it denies all.
    if error.is_quota or (market == "spot" and (error.is_denied or error.is_of_key)):
        return Scope.MARKET
    return Scope.ALL
