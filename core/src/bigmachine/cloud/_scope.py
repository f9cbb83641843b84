"""What may still succeed after a provider refused a launch: it depends on the error's scope."""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from ._offer import Offer


class Scope(enum.Enum):
    """What an error of a launch rules out, until enough instances are launched."""

    POOL = "one type in one zone, for now"
    TYPE = "the instance type, on this market"
    TYPE_ON_ALL_MARKETS = "the instance type, on every market"
    ZONE = "the zone, for all types, on every market"
    MARKET = "the market; one type there, if others failed for another reason"
    METHOD = "this way to launch; another way may succeed with the same offers"
    ALL = "every launch"


_PARTS: Mapping[Scope, Callable[[Offer], Hashable]] = {
    Scope.TYPE: lambda offer: (offer.market, offer.type_name),
    Scope.TYPE_ON_ALL_MARKETS: lambda offer: offer.type_name,
    Scope.ZONE: lambda offer: offer.zone,
    Scope.MARKET: lambda offer: offer.market,
}


class RuledOut:
    """What a provider's errors have ruled out, while instances are sought elsewhere."""

    def __init__(self) -> None:
        self._parts: set[tuple[Scope, Hashable]] = set()
        self._methods: set[type] = set()

    def has_method(self, method: type) -> bool:
        """Whether this way to launch is ruled out: a class of a `LaunchMethod`."""
        return method in self._methods

    def covers(self, offers: Iterable[Offer]) -> bool:
        """Whether all of these offers are ruled out."""
        return all(
            any((scope, part(offer)) in self._parts for scope, part in _PARTS.items())
            for offer in offers
        )

    def note(self, failed: Sequence[tuple[Offer, Scope]], *, method: type) -> bool:
        """Take note of a request's errors; return whether another request may succeed.

        ``failed`` has the scope of each offer's error, and ``method`` is how they were launched.
        """
        is_whole_market = all(scope is Scope.MARKET for _, scope in failed)
        for offer, scope in failed:
            if scope is Scope.METHOD:
                self._methods.add(method)
            elif scope in _PARTS and (scope is not Scope.MARKET or is_whole_market):
                self._parts.add((scope, _PARTS[scope](offer)))
        return not failed or any(scope is not Scope.ALL for _, scope in failed)
