"""Which offers the user's limits allow: ``max_price`` and ``max_session_cost``."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bigmachine.errors import StartError, UsageError

from ._advice import explain
from ._errors import AwsError
from ._offers import Offer
from ._prices import Prices

logger = logging.getLogger("bigmachine.ec2")

_MIN_SECONDS = 60.0  # billed of each instance, by "Per-second billing" of EC2's price pages


def check_max_price(prices: Prices, offers: Sequence[Offer], *, max_price: float | None) -> None:
    """Check that a spot instance of some offer costs no more than ``max_price`` now.

    If all cost more, this raises `StartError`, or logs a warning if there is another market.
    Offers whose price is unknown pass. Raises `UsageError` where prices are not in US dollars.
    """
    if max_price is not None and (currency := prices.foreign_currency):
        raise UsageError(
            f"max_price: is in US dollars, but the region's prices are in {currency}: omit it; a "
            f"spot instance never costs more than one on demand"
        )
    spot = {o: prices.spot_per_hour(o.price_key) for o in offers if o.market == "spot"}
    known = {offer: price for offer, price in spot.items() if price is not None}
    if max_price is None or not spot or len(known) < len(spot) or min(known.values()) <= max_price:
        return
    cheapest = min(known, key=lambda offer: known[offer])
    message = (
        f"max_price: no spot instance costs ${max_price:g} an hour or less now: the cheapest is "
        f"{cheapest.instance_type.name} in {cheapest.subnet.zone}, for ${known[cheapest]:g}"
    )
    if len(spot) == len(offers):
        raise StartError(f"{message}. Raise max_price, name other types, or try again later")
    logger.warning("%s; until prices fall, all instances are on-demand", message)


def check_prices(prices: Prices, offers: Sequence[Offer], *, caller_arn: str) -> None:
    """Raise `StartError` if prices are unknown that ``max_session_cost`` needs.

    ``caller_arn`` is the ARN of the credentials.
    """
    if error := prices.failure:
        why = explain(error, caller_arn=caller_arn) if isinstance(error, AwsError) else error
        raise StartError(f"max_session_cost: the machines' prices are unknown. {why}") from error
    if all(prices.per_hour(offer.price_key) is None for offer in offers):
        names = ", ".join(dict.fromkeys(offer.instance_type.name for offer in offers))
        raise StartError(f"max_session_cost: AWS has no price in US dollars for {names}")


def affordable(
    prices: Prices, offers: Sequence[Offer], *, count: int, budget: float | None
) -> Sequence[Offer]:
    """Return the offers of which ``count`` instances cost at most ``budget`` for a minute.

    A minute is what EC2 bills at least; ``budget`` is in US dollars, and None is no limit. Raises
    `StartError` if there are none.
    """
    if budget is None:
        return offers
    bills = {
        offer: count * price * _MIN_SECONDS / 3600
        for offer in offers
        if (price := prices.per_hour(offer.price_key)) is not None
    }
    chosen = [offer for offer, bill in bills.items() if bill <= budget]
    if not chosen:
        cheapest, bill = min(bills.items(), key=lambda item: item[1])
        raise StartError(
            f"max_session_cost: {count} × {cheapest.instance_type.name} {cheapest.market} cost "
            f"${bill:.4f} for a minute, the shortest time that is billed, and "
            f"${max(0.0, budget):.4f} are left: nothing was launched"
        )
    return chosen
