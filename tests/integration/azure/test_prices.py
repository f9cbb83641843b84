"""Prices are read from Azure's public list; what it does not have is unknown."""

from __future__ import annotations

import logging

import pytest
import trio

from bigmachine.cloud import within_max_price
from bigmachine.errors import StartError
from bigmachine.system import Instance
from bigmachine_azure.catalog._disk_types import disk_price
from bigmachine_azure.catalog._prices import PriceKey, Prices
from tests.integration.azure.plans import plan
from tests.support.azure.arm import LOCATION
from tests.support.azure.fixtures import Kit
from tests.support.azure.retail_prices import item

logger = logging.getLogger("bigmachine.azure")

SIZE = "Standard_D2s_v5"
VM = 0.115
SPOT = 0.023
MONTH = 730.0
DISK, IP = 2.4 / MONTH, 0.005  # of 30 GiB, which is billed as 32


def prices_of(arm, *keys, **options) -> Prices:
    """Return prices after these were fetched."""
    prices = Prices(Kit(arm, **options).options)
    trio.run(prices.fetch, keys or [key(SIZE)])
    return prices


def key(size: str, market: str = "on-demand", location: str = LOCATION) -> PriceKey:
    return PriceKey(market, size, location)


def instance(size: str, market: str = "on-demand") -> Instance:
    details = {"market": market, "instance_type": size}
    return Instance(name="m1.test", address="", details=details)


def price(arm, size=SIZE, market="on-demand", **options) -> float | None:
    prices = prices_of(arm, key(size, market), **options)
    return prices.priced(instance(size, market), location=LOCATION).cost_per_hour


SUMS = [
    (SIZE, "on-demand", {}, VM + DISK + IP),
    (SIZE, "spot", {}, SPOT + DISK + IP),
    (SIZE, "on-demand", {"public_address": False}, VM + DISK),
    (SIZE, "on-demand", {"disk": 33}, VM + 4.8 / MONTH + IP),
    (SIZE, "on-demand", {"disk_type": "Premium_LRS"}, VM + 5.28 / MONTH + IP),
    (  # four volumes of 25 GiB
        SIZE,
        "on-demand",
        {"disk_type": "Standard_LRS", "data_disk": 100},
        VM + 5 * 1.54 / MONTH + IP,
    ),
    ("Standard_NC24ads_A100_v4", "on-demand", {}, 4.5 + DISK + IP),
    (SIZE, "on-demand", {"disk_type": "Premium_ZRS"}, None),  # not in this list
    ("Standard_D2s_v99", "on-demand", {}, None),
]


def test_price_is_of_the_vm_with_its_disks_and_its_address(arm):
    for size, market, options, expected in SUMS:
        found = price(arm, size, market, **options)
        assert found == (None if expected is None else pytest.approx(expected)), (size, options)


def test_offers_have_prices_with_and_without_their_extras(run, arm):
    spot, on_demand = plan(run).offers
    prices = prices_of(arm, spot.price_key, on_demand.price_key)
    assert prices.per_hour(on_demand) == pytest.approx(VM + DISK + IP)
    assert prices.per_hour(spot) == pytest.approx(SPOT + DISK + IP)
    assert prices.spot_per_hour(on_demand) == pytest.approx(SPOT)
    assert prices.failure is None


def test_list_is_filtered_tightly_and_each_price_is_requested_once(arm):
    arm.retail_prices.page_size = 1
    prices = prices_of(arm)
    [of_vm, *_] = sorted(each for each in set(arm.retail_prices.requests) if "armSkuName" in each)
    assert of_vm == (
        "serviceName eq 'Virtual Machines' and armRegionName eq 'westeurope' and "
        f"armSkuName eq '{SIZE}' and priceType eq 'Consumption'"
    )
    requests = len(arm.retail_prices.requests)
    trio.run(prices.fetch, [key(SIZE, "spot")])
    assert len(arm.retail_prices.requests) == requests
    trio.run(prices.fetch, [key("Standard_D4s_v5")])
    more = arm.retail_prices.requests[requests:]
    assert {"Standard_D4s_v5" in each for each in more} == {True}


def test_other_products_of_a_size_are_not_mistaken_for_a_vm(arm):
    of = {"armSkuName": SIZE, "skuName": "D2s v5", "meterName": "D2s v5"}
    arm.retail_prices.items += [
        item(LOCATION, 99.0, **of, productName="Dsv5 Series Cloud Services"),
        item(LOCATION, 99.0, **of, productName="Dsv5 Series CloudServices Windows"),
        item(LOCATION, 99.0, **of, productName="Virtual Machines Dsv5 Series DedicatedHost"),
        item(LOCATION, 99.0, **of, productName="Virtual Machines Dsv5 Series", type="Reservation"),
        item(LOCATION, 99.0, **{**of, "skuName": "D2s v5 Low Priority"}, productName="Dsv5"),
        item(LOCATION, 99.0, **of, productName="Dsv5", unitOfMeasure="1 Year"),
        item(LOCATION, 99.0, **of, productName="Dsv5", currencyCode="EUR"),
        item(LOCATION, 0.0, **of, productName="Dsv5"),
    ]
    assert price(arm) == pytest.approx(VM + DISK + IP)
    arm.retail_prices.items.append(item(LOCATION, 0.2, **of, productName="Dsv5"))
    assert price(arm) == pytest.approx(0.2 + DISK + IP)  # of two that both apply, the dearer one


def test_address_has_the_price_of_other_locations_where_the_list_has_none(arm):
    items = arm.retail_prices.items
    items[:] = [
        each
        for each in items
        if "Public IP" not in each["meterName"] or each["armRegionName"] != LOCATION
    ]
    assert price(arm) == pytest.approx(VM + DISK + IP)


def test_list_out_of_reach_leaves_prices_unknown(arm, caplog):
    arm.retail_prices.status = 503
    with caplog.at_level(logging.INFO, "bigmachine.azure"):
        prices = prices_of(arm)
    [line] = [text for text in caplog.messages if "prices are unknown" in text]
    assert line.startswith("prices are unknown: Azure's price list can't be read (it answered 503")
    assert line.endswith(f"allow requests to {arm.url}")
    assert str(prices.failure) in line
    assert prices.priced(instance(SIZE), location=LOCATION).cost_per_hour is None
    assert len(arm.retail_prices.requests) == 2 * 3  # of the VM, and of its disk
    arm.retail_prices.status = 200
    trio.run(prices.fetch, [key(SIZE)])  # a later start asks again
    assert prices.priced(instance(SIZE), location=LOCATION).cost_per_hour is not None


@pytest.mark.parametrize(
    ("max_price", "bought"),
    [
        pytest.param(
            None, ["spot Standard_D4s_v5", "spot Standard_D2s_v5"], marks=pytest.mark.long
        ),
        (1.0, ["spot Standard_D4s_v5", "spot Standard_D2s_v5"]),
        (0.03, ["spot Standard_D2s_v5"]),
        (0.01, []),
    ],
)
def test_spot_vms_above_the_highest_price_are_left_out(run, arm, caplog, max_price, bought):
    sizes = ["Standard_D4s_v5", SIZE]
    made = plan(run, vm_size=sizes)
    prices = prices_of(arm, *(offer.price_key for offer in made.offers))
    with caplog.at_level(logging.WARNING, "bigmachine.azure"):
        offers = within_max_price(prices, made.offers, max_price=max_price, logger=logger)
    on_demand = [f"on-demand {name}" for name in sizes]
    assert [f"{o.market} {o.type_name}" for o in offers] == [*bought, *on_demand]
    assert any("until prices fall" in text for text in caplog.messages) == (not bought)
    spot = [offer for offer in made.offers if offer.market == "spot"]
    if not bought:
        with pytest.raises(StartError, match=r"max_price: no spot instance costs \$0\.01 an hour"):
            within_max_price(prices, spot, max_price=max_price, logger=logger)
    arm.retail_prices.items.clear()  # Azure keeps to the limit itself
    prices = prices_of(arm, *(offer.price_key for offer in made.offers))
    assert within_max_price(prices, made.offers, max_price=max_price, logger=logger) == made.offers


@pytest.mark.parametrize(
    ("name", "gib", "meter"),
    [
        ("StandardSSD_LRS", 1, "E1 LRS Disk"),
        ("StandardSSD_LRS", 30, "E4 LRS Disk"),
        ("StandardSSD_ZRS", 64, "E6 ZRS Disk"),
        ("Premium_LRS", 129, "P15 LRS Disk"),
        ("Premium_LRS", 4095, "P50 LRS Disk"),
        ("Premium_LRS", 32767, "P80 LRS Disk"),
        ("Standard_LRS", 1, "S4 LRS Disk"),
    ],
)
def test_disk_is_billed_as_the_next_larger_one(name, gib, meter):
    assert disk_price(name, gib=gib).meter == meter
