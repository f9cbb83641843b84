"""What may still succeed after EC2 refused a launch: it depends on the scope of the error."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

from ._errors import AwsError
from ._offers import Offer
from ._options import MARKETS


class Scope(enum.Enum):
    """What an error of a launch rules out."""

    POOL = "one type in one zone, for now"
    TYPE = "the instance type, on this market"
    MARKET = "the market"
    FLEETS = "fleets; RunInstances may succeed"
    ALL = "every launch"


def scope_of(error: AwsError, *, market: str) -> Scope:
    """Return what an error rules out that a launch on ``market`` had."""
    if error.is_capacity:
        return Scope.POOL
    if error.is_fleet_refused:
        return Scope.FLEETS
    if error.is_type_refused:
        return Scope.TYPE
    # What denies a spot instance may deny spot instances alone: a missing role, an organization's
    # policy, or a KMS key that spot's role has no grant for ("Spot Instance permissions"). On
    # demand, the same answer then shows that it denies all.
    if error.is_quota or (market == "spot" and (error.is_denied or error.is_of_key)):
        return Scope.MARKET
    return Scope.ALL


class RuledOut:
    """The offers that EC2's errors have ruled out, while an instance is sought among others."""

    def __init__(self) -> None:
        self.fleets = False
        """Whether fleets are ruled out."""
        self._types: set[tuple[str, str]] = set()  # with their markets
        self._markets: set[str] = set()

    def covers(self, offers: Iterable[Offer]) -> bool:
        """Whether all of these offers are ruled out."""
        return all(
            offer.market in self._markets or (offer.market, offer.instance_type.name) in self._types
            for offer in offers
        )

    def note(self, errors: Sequence[tuple[Offer, AwsError]]) -> bool:
        """Take note of a request's errors; return whether another request may succeed."""
        scopes = [scope_of(error, market=offer.market) for offer, error in errors]
        for (offer, error), scope in zip(errors, scopes, strict=True):
            if scope is Scope.TYPE:
                # Some types are not for spot; what the free plan has not, it has on no market.
                markets = MARKETS if error.outside_free_plan else (offer.market,)
                self._types.update((market, offer.instance_type.name) for market in markets)
            self.fleets |= scope is Scope.FLEETS
        if scopes and all(scope is Scope.MARKET for scope in scopes):
            self._markets.add(errors[0][0].market)
        return any(scope is not Scope.ALL for scope in scopes)
