"""Prices are put together from Google's price list; what it does not have is unknown."""

from __future__ import annotations

import logging

import pytest

from bigmachine.system import Instance
from bigmachine_gcp._machine_types import MachineType
from bigmachine_gcp._prices import PriceKey, Prices
from bigmachine_gcp._skus import rates_of
from tests.integration.gcp.plans import plan
from tests.support.gcp.prices import sku

ZONE = "us-central1-a"
MONTH = 730.0
CORE, RAM, SPOT = 0.03, 0.004, 0.4  # in the tests' price list
DISK, IP = 20 * 0.1 / MONTH, 0.005
N2 = 2 * CORE + 8 * RAM


def prices_of(run, *keys, **options) -> Prices:
    """Return prices after these were fetched."""
    found: list[Prices] = []

    async def test(kit):
        api = kit.api
        try:
            prices = Prices(api, kit.options)
            await prices.fetch(keys)
            found.append(prices)
        finally:
            await api.close()

    run(test, **options)
    return found[0]


def price(run, name, market="on-demand", **options) -> float | None:
    key = PriceKey(market, name, ZONE)
    details = {"market": market, "instance_type": name}
    instance = Instance(name="m1.test", address="", zone=ZONE, details=details)
    return prices_of(run, key, **options).priced(instance).cost_per_hour


@pytest.mark.parametrize(
    ("name", "market", "options", "expected"),
    [
        ("n2-standard-2", "on-demand", {}, N2 + DISK + IP),
        ("n2-standard-2", "spot", {}, N2 * SPOT + DISK + IP / 2),
        ("n2-standard-2", "on-demand", {"public_address": False}, N2 + DISK),
        (
            "n2-standard-2",
            "on-demand",
            {"disk": 50, "data_disk": 100, "disk_type": "pd-ssd"},
            N2 + 150 * 0.17 / MONTH + IP,
        ),
        ("n2-standard-2", "on-demand", {"disk_type": "pd-standard"}, N2 + 20 * 0.04 / MONTH + IP),
        (
            "n2-standard-2",
            "on-demand",
            {"local_disks": True},
            N2 + DISK + IP + 375 * 0.08 / MONTH,
        ),
        ("e2-small", "on-demand", {}, 0.5 * CORE + 2 * RAM + DISK + IP),
        ("c2-standard-4", "on-demand", {}, 4 * CORE + 16 * RAM + DISK + IP),
        ("n2d-standard-2", "on-demand", {}, 2 * CORE + 8 * RAM + DISK + IP),
        (
            "c4a-standard-2",
            "on-demand",
            {},
            2 * CORE + 8 * RAM + 20 * 0.08 / MONTH + IP,
        ),
        (
            "c3-standard-4-lssd",
            "spot",
            {},
            (4 * CORE + 16 * RAM + 375 * 0.08 / MONTH) * SPOT + DISK + IP / 2,
        ),
        ("g2-standard-4", "on-demand", {}, 4 * CORE + 16 * RAM + 0.56 + DISK + IP),
        (
            "n1-standard-4",
            "spot",
            {"machine_type": "n1-standard-4", "accelerator": "nvidia-tesla-t4:2"},
            (4 * CORE + 15 * RAM + 2 * 0.35) * SPOT + DISK + IP / 2,
        ),
        ("f1-micro", "on-demand", {}, None),
        ("no-such-type", "on-demand", {}, None),
    ],
)
def test_price_is_the_sum_of_all_that_an_instance_is_made_of(
    run, gce, name, market, options, expected
):
    found = price(run, name, market, **options)
    assert found == (None if expected is None else pytest.approx(expected))


def test_offers_have_prices_with_and_without_their_extras(run, gce):
    made = plan(run)
    prices = prices_of(run, *(offer.price_key for offer in made.offers))
    spot, on_demand = made.offers
    assert prices.per_hour(on_demand) == pytest.approx(N2 + DISK + IP)
    assert prices.per_hour(spot) == pytest.approx(N2 * SPOT + DISK + IP / 2)
    assert prices.spot_per_hour(spot) == pytest.approx(N2 * SPOT)
    assert prices.failure is None


def test_price_list_is_read_once_and_by_pages(run, gce, monkeypatch):
    monkeypatch.setattr("bigmachine_gcp._prices._PAGE_SIZE", 100)

    async def test(kit):
        api = kit.api
        prices = Prices(api, kit.options)
        for _ in range(2):
            await prices.fetch([PriceKey("spot", "n2-standard-2", ZONE)])
        await api.close()
        return prices

    found = run(test)
    tokens = [call.pageToken for call in gce.calls("cloudbilling.services.skus.list")]
    assert len(tokens) == len({*tokens}) > 2
    assert found.failure is None


def test_series_that_the_list_does_not_have_has_no_price(run, gce):
    del gce.prices.series["c4"]
    assert price(run, "c4-standard-2") is None
    assert price(run, "n2-standard-2") is not None


def test_dearer_price_counts_where_two_apply(run, gce):
    gce.prices.more.append(sku("N2 Instance Core running in Iowa", price=0.09))
    gce.prices.more.append(sku("N2 Instance Core running in Mars", region="mars-1", price=9.0))
    found = price(run, "n2-standard-2", public_address=False)
    assert found == pytest.approx(2 * 0.09 + 8 * RAM + DISK)


def test_free_part_of_a_resource_is_not_counted(run, gce):
    disk = sku("Storage PD Capacity", unit="GiBy.mo", price=0.04)
    [rates] = [info["pricingExpression"]["tieredRates"] for info in disk["pricingInfo"]]
    nothing = {"currencyCode": "USD", "units": "0", "nanos": 0}
    rates[:] = [{"startUsageAmount": 0, "unitPrice": nothing}, {**rates[0], "startUsageAmount": 30}]
    [rate] = rates_of([disk])
    assert rate.price == pytest.approx(0.04 / MONTH)


def test_price_list_that_may_not_be_read_leaves_prices_unknown(run, gce, caplog):
    gce.access.disabled_apis.add("cloudbilling.googleapis.com")
    key = PriceKey("on-demand", "n2-standard-2", ZONE)
    with caplog.at_level(logging.INFO, "bigmachine.gcp"):
        prices = prices_of(run, key)
    [line] = [text for text in caplog.messages if "prices are unknown" in text]
    enable = "`gcloud services enable cloudbilling.googleapis.com --project"
    assert enable in line
    assert enable in str(prices.failure)
    assert price(run, "n2-standard-2") is None


@pytest.mark.parametrize(
    "words",
    [
        "N2 Custom Instance Core running in Americas",
        "N2 Sole Tenancy Instance Core running in Americas",
        "Reserved N2 Instance Core running in Americas",
        "Custom Instance Core running in Americas",
        "Sole Tenancy Instance Core running in Americas",
        "Memory Optimized Upgrade Premium for Memory-optimized Instance Core running in Americas",
        "Regional Balanced PD Capacity in Iowa",
        "Balanced PD Capacity Committed in Iowa",
        "Static Ip Charge in Iowa",
        "Nvidia Tesla T4 GPU for DWS Calendar Mode running in Americas",
        "Network Internet Data Transfer Out from Americas to China",
        "",
    ],
)
def test_sku_of_something_else_is_not_mistaken(words):
    assert [*rates_of([sku(words)])] == []


def test_sku_without_a_price_in_dollars_is_left_out():
    in_yen = sku("N2 Instance Core running in Tokyo")
    rate = in_yen["pricingInfo"][0]["pricingExpression"]["tieredRates"][0]
    rate["unitPrice"]["currencyCode"] = "JPY"
    assert [*rates_of([in_yen, {}, {"description": "N2 Instance Core running in X"}])] == []


def test_memory_in_gigabytes_is_converted_to_gibibytes():
    [rate] = rates_of([sku("N2 Instance Ram running in Americas", unit="GBy.h")])
    assert rate.price == pytest.approx(2**30 / 1e9)


def test_types_with_skus_of_their_own_have_these(run, gce):
    gce.catalog.machine_types["a3-megagpu-8g"] = type(gce.catalog.machine_types["g2-standard-4"])(
        "a3-megagpu-8g", 208, 1872 * 1024, gpu=("nvidia-h100-mega-80gb", 8), local_ssds=16
    )
    for name, core in {"A3 Instance": 9.0, "A3Plus Instance": 0.03}.items():
        gce.prices.more += [
            sku(f"{name} Core running in Americas", price=core),
            sku(f"{name} Ram running in Americas", unit="GiBy.h", price=core / 10),
        ]
    gce.prices.more.append(sku("Nvidia H100 80GB Plus GPU running in Americas", price=11.0))
    expected = 208 * 0.03 + 1872 * 0.003 + 8 * 11 + 16 * 375 * 0.08 / MONTH + DISK + IP
    assert price(run, "a3-megagpu-8g") == pytest.approx(expected)
    assert MachineType("a3-megagpu-8g", 208, 0, "X86_64", frozenset()).series == "a3"
