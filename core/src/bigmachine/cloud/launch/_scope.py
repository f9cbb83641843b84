"""What may still succeed after a provider refused a launch: it depends on the error's scope."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from ..errors._cloud_error import CloudError
from ._offer import Offer

_REMEMBERED_SECONDS = 600.0  # somebody may mend it meanwhile


class Scope(enum.Enum):
    """What an error of a launch rules out, until enough instances are launched."""

    POOL = "one type in one zone, for now"
    TYPE = "the instance type, on this market"
    TYPE_ON_ALL_MARKETS = "the instance type, on every market"
    ZONE = "the zone, for all types, on every market"
    MARKET = "the market, if all offers of the request fail so"
    METHOD = "this way to launch; another way may succeed with the same offers"
    ALL = "every launch"


_PARTS: Mapping[Scope, Callable[[Offer], Hashable]] = {
    Scope.POOL: lambda offer: (offer.market, offer.type_name, offer.zone),
    Scope.TYPE: lambda offer: (offer.market, offer.type_name),
    Scope.TYPE_ON_ALL_MARKETS: lambda offer: offer.type_name,
    Scope.ZONE: lambda offer: offer.zone,
    Scope.MARKET: lambda offer: offer.market,
}


class Refusals:
    """What a provider refuses to the account or the caller: a session remembers it for minutes.

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
    """What a provider's errors have ruled out, while instances are sought among ``offers``.

    So is what earlier ``refusals`` were about, unless no offer is left then.
    """

    def __init__(self, offers: Sequence[Offer] = (), refusals: Refusals | None = None) -> None:
        self._refusals = Refusals() if refusals is None else refusals
        self._parts: set[Hashable] = set()
        self._methods: set[type] = set()
        remembered = {part for o in offers for part in _parts(o) if part in self._refusals}
        if not all(remembered.intersection(_parts(offer)) for offer in offers):
            self._parts |= remembered

    def has_method(self, method: type) -> bool:
        """Whether this way to launch is ruled out: a class of a `LaunchMethod`."""
        return method in self._methods or method in self._refusals

    def covers(self, offers: Iterable[Offer]) -> bool:
        """Whether all of these offers are ruled out."""
        return all(self._parts.intersection(_parts(offer)) for offer in offers)

    def note(self, errors: Sequence[tuple[Offer, CloudError, Scope]], *, method: type) -> bool:
        """Take note of a request's errors; return whether another request may succeed.

        ``method`` is the class of how they were launched.
        """
        for offer, error, scope in errors:
            if scope is Scope.METHOD:
                self._methods.add(method)
                self._refusals.note(method)
            elif scope in (Scope.TYPE, Scope.TYPE_ON_ALL_MARKETS):
                self._rule_out(scope, offer, is_lasting=not error.is_shortage)
            elif scope is Scope.ZONE:
                self._rule_out(scope, offer, is_lasting=error.is_denied)
        if errors and all(scope is Scope.MARKET for *_, scope in errors):
            is_lasting = not any(error.is_shortage for _, error, _ in errors)
            self._rule_out(Scope.MARKET, errors[0][0], is_lasting=is_lasting)
        return not errors or any(scope is not Scope.ALL for *_, scope in errors)

    def note_lost(self, errors: Iterable[tuple[Offer, Scope]]) -> None:
        """Take note of errors that ended launched instances: no instance is sought there again.

        A request that fails for a pool needs none of this: each pool is requested only once.
        """
        for offer, scope in errors:
            if scope is Scope.POOL:
                self._rule_out(scope, offer, is_lasting=False)

    def _rule_out(self, scope: Scope, offer: Offer, *, is_lasting: bool) -> None:
        part = scope, _PARTS[scope](offer)
        self._parts.add(part)
        if is_lasting:
            self._refusals.note(part)


def _parts(offer: Offer) -> set[Hashable]:
    """Return all that would rule this offer out, if it was ruled out."""
    return {(scope, part(offer)) for scope, part in _PARTS.items()}
