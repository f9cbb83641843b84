"""Whether the user's limits can be kept: ``max_price`` and ``max_session_cost``."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bigmachine import cloud
from bigmachine.errors import UsageError

from ..api._advice import explain
from ..api._errors import AwsError
from ..catalog._prices import Prices
from ._offers import Offer

logger = logging.getLogger("bigmachine.ec2")


def check_max_price(prices: Prices, offers: Sequence[Offer], *, max_price: float | None) -> None:
    """Check that a spot instance of some offer costs no more than ``max_price`` now.

    EC2 itself keeps to it, by the ``MaxPrice`` of requests. If all cost more, this raises
    `StartError`, or logs a warning if there is another market. Raises `UsageError` where prices
    are not in US dollars.
    """
    if max_price is not None and (currency := prices.foreign_currency):
        raise UsageError(
            f"max_price: is in US dollars, but the region's prices are in {currency}: omit it; a "
            f"spot instance never costs more than one on demand"
        )
    cloud.check_max_price(prices, offers, max_price=max_price, logger=logger)


def check_prices(prices: Prices, offers: Sequence[Offer], *, caller_arn: str) -> None:
    """Raise `StartError` if prices are unknown that ``max_session_cost`` needs.

    ``caller_arn`` is the ARN of the credentials.
    """
    failure = prices.failure
    if isinstance(failure, AwsError):
        failure = explain(failure, caller_arn=caller_arn)
    cloud.check_prices(prices, offers, provider="AWS", failure=failure)
