"""Which offers the user's limits allow: ``max_price`` and ``max_session_cost``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol, TypeVar

from ...errors import StartError
from ...system import VmOptions
from ._offer import Offer

OfferT = TypeVar("OfferT", bound=Offer)
OfferT_contra = TypeVar("OfferT_contra", bound=Offer, contravariant=True)

_MIN_SECONDS = 60.0  # what EC2 and GCE bill of each instance at least, by their price pages
_NEEDED_SECONDS = 90.0


class Prices(Protocol[OfferT_contra]):
    """What instances cost, in US dollars an hour, as far as it is known."""

    def per_hour(self, offer: OfferT_contra, /) -> float | None:
        """Return what an instance costs with all that comes with it; None if unknown."""
        ...

    def spot_per_hour(self, offer: OfferT_contra, /) -> float | None:
        """Return what a spot instance alone costs; None if unknown."""
        ...


def check_max_price(
    prices: Prices[OfferT],
    offers: Sequence[OfferT],
    *,
    max_price: float | None,
    logger: logging.Logger,
) -> None:
    """Check that a spot instance of some offer costs no more than ``max_price`` now.

    If all cost more, this raises `StartError`, or logs a warning if there is another market.
    Offers whose price is unknown pass.
    """
    spot = {offer: prices.spot_per_hour(offer) for offer in offers if offer.market == "spot"}
    known = {offer: price for offer, price in spot.items() if price is not None}
    if max_price is None or not spot or len(known) < len(spot) or min(known.values()) <= max_price:
        return
    cheapest = min(known, key=lambda offer: known[offer])
    place = f" in {cheapest.zone}" if cheapest.zone else ""
    message = (
        f"max_price: no spot instance costs ${max_price:g} an hour or less now: the cheapest is "
        f"{cheapest.type_name}{place}, for ${known[cheapest]:g}"
    )
    if len(spot) == len(offers):
        raise StartError(f"{message}. Raise max_price, name other types, or try again later")
    logger.warning("%s; until prices fall, all instances are on-demand", message)


def within_max_price(
    prices: Prices[OfferT],
    offers: Sequence[OfferT],
    *,
    max_price: float | None,
    logger: logging.Logger,
) -> tuple[OfferT, ...]:
    """Return the offers, without spot instances that are known to cost more than ``max_price``.

    Raises `StartError`, or logs a warning, as `check_max_price` does.
    """
    check_max_price(prices, offers, max_price=max_price, logger=logger)
    if max_price is None:
        return tuple(offers)
    spot = {offer: prices.spot_per_hour(offer) for offer in offers if offer.market == "spot"}
    return tuple(offer for offer in offers if (spot.get(offer) or 0.0) <= max_price)


def price_seconds(o: VmOptions, *, shown: float) -> float:
    """Return how long to wait for prices: ``shown`` seconds if they are merely shown.

    It is longer if one of the user's limits needs them.
    """
    is_needed = o.max_session_cost is not None or o.max_price is not None
    return _NEEDED_SECONDS if is_needed else shown


def check_prices(
    prices: Prices[OfferT],
    offers: Sequence[OfferT],
    *,
    provider: str,
    failure: Exception | None = None,
) -> None:
    """Raise `StartError` if no price is known, which ``max_session_cost`` needs.

    ``provider`` is whose prices these are, for the message, and ``failure`` why some are unknown:
    then it is raised, too.
    """
    if failure is not None:
        raise StartError(
            f"max_session_cost: the machines' prices are unknown: {failure}"
        ) from failure
    if all(prices.per_hour(offer) is None for offer in offers):
        names = ", ".join(dict.fromkeys(offer.type_name for offer in offers))
        raise StartError(
            f"max_session_cost: {provider} has no price in US dollars for {names}: name other "
            f"types, or omit max_session_cost"
        )


def affordable(
    prices: Prices[OfferT], offers: Sequence[OfferT], *, count: int, budget: float | None
) -> Sequence[OfferT]:
    """Return the offers of which ``count`` instances cost at most ``budget`` for a minute.

    ``budget`` is in US dollars, and None is no limit; with one, offers whose price is unknown are
    left out. Raises `StartError` if there are none.
    """
    if budget is None:
        return offers
    bills = {
        offer: count * price * _MIN_SECONDS / 3600
        for offer in offers
        if (price := prices.per_hour(offer)) is not None
    }
    if not bills:
        raise StartError("max_session_cost: no price is known: nothing was launched")
    chosen = [offer for offer, bill in bills.items() if bill <= budget]
    if not chosen:
        cheapest, bill = min(bills.items(), key=lambda item: item[1])
        raise StartError(
            f"max_session_cost: {count} × {cheapest.type_name} {cheapest.market} cost ${bill:.4f} "
            f"for a minute, the shortest time that is counted, and ${max(0.0, budget):.4f} are "
            f"left: nothing was launched"
        )
    return chosen
