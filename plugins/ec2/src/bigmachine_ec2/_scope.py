"""What may still succeed after EC2 refused a launch: it depends on the scope of the error."""

from __future__ import annotations

import enum
import time
from collections.abc import Hashable, Iterable, Sequence

from bigmachine.system import MARKETS

from ._errors import AwsError
from ._offers import Offer

_REMEMBERED_SECONDS = 600.0
_FLEETS = "fleets"


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


class Refusals:
    """What EC2 refuses to the account or the caller, remembered by a session for ten minutes.

    So a later start does not request it again; and yet does, once somebody may have mended it.
    Capacity and quotas are not remembered: they change with each machine that ends.
    """

    def __init__(self) -> None:
        self._noted: dict[Hashable, float] = {}  # when, by `time.monotonic`

    def note(self, what: Hashable) -> None:
        """Remember a refusal, as of now."""
        self._noted[what] = time.monotonic()

    def __contains__(self, what: Hashable) -> bool:
        noted = self._noted.get(what, -float("inf"))
        return time.monotonic() < noted + _REMEMBERED_SECONDS


class RuledOut:
    """The offers that EC2's errors have ruled out, while an instance is sought among ``offers``.

    So are those of earlier ``refusals``, unless nothing else is left.
    """

    def __init__(self, offers: Iterable[Offer] = (), refusals: Refusals | None = None) -> None:
        self._refusals = Refusals() if refusals is None else refusals
        self.fleets = _FLEETS in self._refusals
        """Whether fleets are ruled out."""
        self._ruled_out: set[Hashable] = set()
        remembered = {key for o in offers for key in _keys(o) if key in self._refusals}
        if not all(remembered.intersection(_keys(offer)) for offer in offers):
            self._ruled_out |= remembered

    def covers(self, offers: Iterable[Offer]) -> bool:
        """Whether all of these offers are ruled out."""
        return all(self._ruled_out.intersection(_keys(offer)) for offer in offers)

    def note(self, errors: Sequence[tuple[Offer, AwsError]]) -> bool:
        """Take note of a request's errors; return whether another request may succeed."""
        scopes = [scope_of(error, market=offer.market) for offer, error in errors]
        for (offer, error), scope in zip(errors, scopes, strict=True):
            if scope is Scope.TYPE:
                # Some types are not for spot; what the free plan has not, it has on no market.
                markets = MARKETS if error.outside_free_plan else (offer.market,)
                for market in markets:
                    self._rule_out(_type_key(market, offer), is_lasting=True)
            if scope is Scope.FLEETS:
                self.fleets = True
                self._refusals.note(_FLEETS)
        if scopes and all(scope is Scope.MARKET for scope in scopes):
            is_lasting = not any(error.is_quota for _, error in errors)
            self._rule_out(errors[0][0].market, is_lasting=is_lasting)
        return any(scope is not Scope.ALL for scope in scopes)

    def _rule_out(self, what: Hashable, *, is_lasting: bool) -> None:
        self._ruled_out.add(what)
        if is_lasting:
            self._refusals.note(what)


def _keys(offer: Offer) -> tuple[Hashable, Hashable]:
    """Return what rules this offer out: its market, or its type on that market."""
    return offer.market, _type_key(offer.market, offer)


def _type_key(market: str, offer: Offer) -> tuple[str, str]:
    return market, offer.instance_type.name
