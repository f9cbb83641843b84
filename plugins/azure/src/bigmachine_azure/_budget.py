"""Which offers the user's limit of a spot VM's price allows."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bigmachine.cloud import check_max_price

from ._offers import Offer
from ._prices import Prices

logger = logging.getLogger("bigmachine.azure")


def within_max_price(
    prices: Prices, offers: Sequence[Offer], *, max_price: float | None
) -> tuple[Offer, ...]:
    """Return the offers, without spot VMs that are known to cost more than ``max_price`` an hour.

    Azure keeps to the limit itself, by a VM's ``billingProfile.maxPrice``: it refuses a VM whose
    price is higher, and evicts it later. So an unknown price is no error. Raises `StartError` if
    all cost more and there is no other market.
    """
    check_max_price(prices, offers, max_price=max_price, logger=logger)
    if max_price is None:
        return tuple(offers)
    spot = {o: prices.spot_per_hour(o) for o in offers if o.market == "spot"}
    return tuple(o for o in offers if (spot.get(o) or 0.0) <= max_price)
