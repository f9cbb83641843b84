"""Offers that cost more than the user allows are not launched."""

from __future__ import annotations

import logging

import pytest

from bigmachine.cloud import (
    affordable,
    check_max_price,
    check_prices,
    price_seconds,
    within_max_price,
)
from bigmachine.errors import StartError
from bigmachine.system import VmOptions

from .provider import Pool

SPOT, OTHER, ON_DEMAND = (
    Pool("spot", "small", "a"),
    Pool("spot", "large", "b"),
    Pool("on-demand", "small", "a"),
)
ALL = [SPOT, OTHER, ON_DEMAND]
logger = logging.getLogger("bigmachine.madeup")


class Prices:
    """Prices an hour; instances come with a disk for $0.01."""

    def __init__(self, *prices):
        self.prices = dict(zip(ALL, prices, strict=False))

    def per_hour(self, offer):
        price = self.prices.get(offer)
        return None if price is None else price + 0.01

    def spot_per_hour(self, offer):
        return self.prices.get(offer)


def test_offers_beyond_the_budget_are_left_out():
    prices = Prices(0.05, 0.11, 0.23)
    assert affordable(prices, ALL, count=10, budget=None) is ALL
    assert affordable(prices, ALL, count=10, budget=0.041) == ALL
    assert affordable(prices, ALL, count=10, budget=0.02) == [SPOT, OTHER]
    assert affordable(prices, ALL, count=10, budget=0.0101) == [SPOT]
    with pytest.raises(StartError) as caught:
        affordable(prices, ALL, count=10, budget=0.009)
    assert "10 × small spot cost $0.0100 for a minute" in str(caught.value)
    assert "$0.0090 are left: nothing was launched" in str(caught.value)


def test_offers_without_a_price_are_not_launched_on_a_budget():
    assert affordable(Prices(0.05), ALL, count=1, budget=9.0) == [SPOT]
    with pytest.raises(StartError, match="no price is known: nothing was launched"):
        affordable(Prices(), ALL, count=1, budget=9.0)
    check_prices(Prices(0.05), ALL, provider="Made-up Cloud")
    with pytest.raises(StartError, match="Made-up Cloud has no price in US dollars for small, lar"):
        check_prices(Prices(), ALL, provider="Made-up Cloud")


def test_max_price_below_all_spot_prices_is_refused_or_a_warning(caplog):
    prices = Prices(0.05, 0.11, 0.23)
    check_max_price(prices, ALL, max_price=0.05, logger=logger)
    check_max_price(prices, ALL, max_price=None, logger=logger)
    check_max_price(Prices(0.05), ALL, max_price=0.01, logger=logger)  # large may cost less
    assert not caplog.records
    check_max_price(prices, ALL, max_price=0.04, logger=logger)
    assert "the cheapest is small in a, for $0.05; until prices fall" in caplog.text
    with pytest.raises(StartError, match="for \\$0.05. Raise max_price, name other types"):
        check_max_price(prices, [SPOT, OTHER], max_price=0.04, logger=logger)


def test_spot_offers_above_the_highest_price_are_left_out():
    prices = Prices(0.05, 0.11, 0.23)
    assert within_max_price(prices, ALL, max_price=0.1, logger=logger) == (SPOT, ON_DEMAND)
    assert within_max_price(prices, ALL, max_price=0.11, logger=logger) == tuple(ALL)
    assert within_max_price(prices, ALL, max_price=None, logger=logger) == tuple(ALL)
    assert within_max_price(Prices(0.05), ALL, max_price=0.01, logger=logger) == (OTHER, ON_DEMAND)
    with pytest.raises(StartError, match="max_price: no spot instance costs"):
        within_max_price(prices, [SPOT, OTHER], max_price=0.01, logger=logger)


def test_reason_why_prices_are_unknown_is_told_where_a_limit_needs_them():
    failure = StartError("the price list is closed")
    with pytest.raises(StartError, match="prices are unknown: the price list is closed") as caught:
        check_prices(Prices(0.05), ALL, provider="Made-up Cloud", failure=failure)
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize(
    ("options", "is_needed"),
    [({}, False), ({"max_session_cost": 1.0}, True), ({"max_price": 0.1}, True)],
)
def test_prices_that_a_limit_needs_are_waited_for_longer(options, is_needed):
    seconds = price_seconds(VmOptions(**options), shown=10.0)
    assert (seconds > 60.0) if is_needed else (seconds == 10.0)
