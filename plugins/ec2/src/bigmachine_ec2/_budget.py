"""Whether the user's limits can be kept: ``max_price`` and ``max_session_cost``."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bigmachine import cloud
from bigmachine.errors import StartError, UsageError

from ._advice import explain
from ._errors import AwsError
from ._offers import Offer
from ._prices import Prices

logger = logging.getLogger("bigmachine.ec2")


def check_max_price(prices: Prices, offers: Sequence[Offer], *, max_price: float | None) -> None:
    """Check that a spot instance of some offer costs no more than ``max_price`` now.

    If all cost more, this raises `StartError`, or logs a warning if there is another market.
    Raises `UsageError` where prices are not in US dollars.
    """
    if max_price is not None and (currency := prices.foreign_currency):
        raise UsageError(
            f"max_price: is in US dollars, but the region's prices are in {currency}: omit it; a "
            f"spot instance never costs more than one on demand"
        )
    cloud.check_max_price(_OfferPrices(prices), offers, max_price=max_price, logger=logger)


def check_prices(prices: Prices, offers: Sequence[Offer], *, caller_arn: str) -> None:
    """Raise `StartError` if prices are unknown that ``max_session_cost`` needs.

    ``caller_arn`` is the ARN of the credentials.
    """
    if error := prices.failure:
        why = explain(error, caller_arn=caller_arn) if isinstance(error, AwsError) else error
        raise StartError(f"max_session_cost: the machines' prices are unknown. {why}") from error
    cloud.check_prices(_OfferPrices(prices), offers, provider="AWS")


def affordable(
    prices: Prices, offers: Sequence[Offer], *, count: int, budget: float | None
) -> Sequence[Offer]:
    """Return the offers of which ``count`` instances cost at most ``budget`` for a minute.

    ``budget`` is in US dollars, and None is no limit. Raises `StartError` if there are none.
    """
    return cloud.affordable(_OfferPrices(prices), offers, count=count, budget=budget)


class _OfferPrices:
    """`Prices` by offers."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices

    def per_hour(self, offer: Offer) -> float | None:
        return self._prices.per_hour(offer.price_key)

    def spot_per_hour(self, offer: Offer) -> float | None:
        return self._prices.spot_per_hour(offer.price_key)
