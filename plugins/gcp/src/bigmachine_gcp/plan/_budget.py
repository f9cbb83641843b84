"""Which offers the user's limit of a spot instance's price allows."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bigmachine import cloud
from bigmachine.errors import StartError

from ..catalog._prices import Prices
from ._offers import Offer

logger = logging.getLogger("bigmachine.gcp")


def within_max_price(
    prices: Prices, offers: Sequence[Offer], *, max_price: float | None
) -> tuple[Offer, ...]:
    """Return the offers, without spot instances that cost more than ``max_price`` an hour.

    Google takes no such limit in a request, and a spot price changes once a day at most ("Spot
    VMs"), so this is what keeps to it. Raises `StartError` if all cost more and there is no other
    market, or if a price is unknown.
    """
    spot = [offer for offer in offers if offer.market == "spot"] if max_price is not None else []
    if unknown := dict.fromkeys(o.type_name for o in spot if prices.spot_per_hour(o) is None):
        why = f". {prices.failure}" if prices.failure else ""
        raise StartError(
            f"max_price: the price of a spot {', '.join(unknown)} is unknown, and Google itself "
            f"limits no price: omit max_price, or name other types{why}"
        ) from prices.failure
    return cloud.within_max_price(prices, offers, max_price=max_price, logger=logger)
