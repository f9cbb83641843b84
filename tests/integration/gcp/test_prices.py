"""Prices are put together from Google's price list; what it does not have is unknown."""

from __future__ import annotations

import json
import logging

import pytest

from bigmachine.errors import StartError
from bigmachine.system import Instance
from bigmachine_gcp.catalog._machine_types import MachineType
from bigmachine_gcp.catalog._price_cache import default_file, load_rates, save_rates
from bigmachine_gcp.catalog._price_list import rates_of
from bigmachine_gcp.catalog._prices import PriceKey, Prices
from bigmachine_gcp.plan._budget import within_max_price
from tests.integration.gcp.plans import plan
from tests.support.gcp.fixtures import Kit
from tests.support.gcp.gce import PROJECT
from tests.support.gcp.price_list import SPOT, sku

ZONE = "us-central1-a"
MONTH = 730.0
CORE, RAM = 0.031611, 0.004237  # of N2
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


def instance(name: str, market: str = "on-demand", zone: str = ZONE) -> Instance:
    details = {"market": market, "instance_type": name}
    return Instance(name="m1.test", address="", zone=zone, details=details)


def price(run, name, **options) -> float | None:
    prices = prices_of(run, PriceKey("on-demand", name, ZONE), **options)
    return prices.priced(instance(name)).cost_per_hour


SUMS = [
    ("n2-standard-2", "on-demand", {}, N2 + DISK + IP),
    ("n2-standard-2", "spot", {}, N2 * SPOT + DISK + IP / 2),
    ("n2-standard-2", "on-demand", {"public_address": False}, N2 + DISK),
    (
        "n2-standard-2",
        "on-demand",
        {"disk": 50, "data_disk": 100, "disk_type": "pd-ssd"},
        N2 + 150 * 0.17 / MONTH + IP,
    ),
    # a part of standard disks is free each month, which is not counted
    ("n2-standard-2", "on-demand", {"disk_type": "pd-standard"}, N2 + 20 * 0.04 / MONTH + IP),
    (
        "n2-standard-2",
        "on-demand",
        {"local_disks": True},
        N2 + DISK + IP + 375 * 0.08 / MONTH,
    ),
    ("e2-small", "on-demand", {}, 0.5 * 0.02181 + 2 * 0.00292 + DISK + IP),
    ("c2-standard-4", "on-demand", {}, 4 * 0.03398 + 16 * 0.00455 + DISK + IP),
    ("n2d-standard-2", "on-demand", {}, 2 * 0.027502 + 8 * 0.003686 + DISK + IP),
    (
        "c4a-standard-2",
        "on-demand",
        {},
        2 * 0.03086 + 8 * 0.003507 + 20 * 0.08 / MONTH + IP,
    ),
    (
        "c3-standard-4-lssd",
        "spot",
        {},
        (4 * 0.03398 + 16 * 0.003938 + 375 * 0.08 / MONTH) * SPOT + DISK + IP / 2,
    ),
    ("g2-standard-4", "on-demand", {}, 4 * 0.024988 + 16 * 0.002927 + 0.56004 + DISK + IP),
    (
        "n1-standard-4",
        "spot",
        {"machine_type": "n1-standard-4", "accelerator": "nvidia-tesla-t4:2"},
        (4 * CORE + 15 * RAM + 2 * 0.35) * SPOT + DISK + IP / 2,
    ),
    ("a2-highgpu-1g", "on-demand", {}, None),  # not in this price list
    ("f1-micro", "on-demand", {}, None),
    ("no-such-type", "on-demand", {}, None),
]


def test_price_is_the_sum_of_all_that_an_instance_is_made_of(run, gce):
    async def test(kit):
        api = kit.api
        for name, market, options, expected in SUMS:
            prices = Prices(api, Kit(gce, **options).options)
            await prices.fetch([PriceKey(market, name, ZONE)])
            found = prices.priced(instance(name, market)).cost_per_hour
            assert found == (None if expected is None else pytest.approx(expected)), name
        await api.close()

    run(test)


def test_offers_have_prices_with_and_without_their_extras(run, gce):
    made = plan(run)
    prices = prices_of(run, *(offer.price_key for offer in made.offers))
    spot, on_demand = made.offers
    assert prices.per_hour(on_demand) == pytest.approx(N2 + DISK + IP)
    assert prices.per_hour(spot) == pytest.approx(N2 * SPOT + DISK + IP / 2)
    assert prices.spot_per_hour(spot) == pytest.approx(N2 * SPOT)
    assert prices.failure is None


def test_price_list_is_read_once_and_by_pages(run, gce):
    async def test(kit):
        api = kit.api
        prices = Prices(api, kit.options)
        for _ in range(2):
            await prices.fetch([PriceKey("spot", "n2-standard-2", ZONE)])
        await api.close()

    run(test)
    pages = -(-len(gce.price_list.skus) // gce.price_list.page_size)
    assert gce.price_list.requests == pages > 1


@pytest.mark.parametrize("quota_project", ["", "another-project"])
def test_price_list_is_read_for_a_project_of_the_users(
    run, gce, tmp_path, monkeypatch, quota_project
):
    changes = {"quota_project_id": quota_project} if quota_project else {}
    file = gce.oauth.write_user(tmp_path / "user.json", gce.url, **changes)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    # google-auth asks nobody else for a user's token, whatever the file says
    endpoint = "google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT"
    monkeypatch.setattr(endpoint, f"{gce.url}/token")
    assert price(run, "n2-standard-2", project=PROJECT) is not None
    calls = gce.calls("cloudbilling.services.skus.list")
    assert {call.quota_project for call in calls} == {quota_project or PROJECT}


def test_series_that_the_list_does_not_have_has_no_price(run, gce):
    skus = gce.price_list.skus
    skus[:] = [each for each in skus if "C4 Instance" not in each["description"]]
    assert price(run, "c4-standard-2") is None
    assert price(run, "n2-standard-2") is not None


def test_other_regions_have_their_own_prices(run, gce):
    words = "N2 Instance Core running in Frankfurt"
    gce.price_list.skus.insert(0, sku(words, 0.09, regions=("europe-west4",)))
    key = PriceKey("on-demand", "n2-standard-2", "europe-west4-a")
    prices = prices_of(run, key, public_address=False, region="europe-west4", zones=())
    # of two SKUs that both apply, the dearer one
    expected = 2 * 0.09 + 8 * RAM + DISK
    found = prices.priced(instance(key.machine_type, zone=key.zone)).cost_per_hour
    assert found == pytest.approx(expected)


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
    assert [*rates_of([sku(words, 1.0)])] == []


def test_sku_without_a_price_in_dollars_is_left_out():
    in_yen = sku("N2 Instance Core running in Tokyo", 1.0)
    rate = in_yen["pricingInfo"][0]["pricingExpression"]["tieredRates"][0]
    rate["unitPrice"]["currencyCode"] = "JPY"
    assert [*rates_of([in_yen, {}, {"description": "N2 Instance Core running in X"}])] == []


def test_memory_in_gigabytes_is_converted_to_gibibytes():
    [rate] = rates_of([sku("N2 Instance Ram running in Americas", 1.0, unit="GBy.h")])
    assert rate.price == pytest.approx(2**30 / 1e9)


def test_types_with_skus_of_their_own_have_these(run, gce):
    gce.catalog.machine_types["a3-megagpu-8g"] = type(gce.catalog.machine_types["g2-standard-4"])(
        "a3-megagpu-8g", 208, 1872 * 1024, gpu=("nvidia-h100-mega-80gb", 8), local_ssds=16
    )
    words = {"A3 Instance": 9.0, "A3Plus Instance": 0.03}
    for name, core in words.items():
        gce.price_list.skus.append(sku(f"{name} Core running in Americas", core))
        gce.price_list.skus.append(sku(f"{name} Ram running in Americas", core / 10, unit="GiBy.h"))
    gce.price_list.skus.append(sku("Nvidia H100 80GB Plus GPU running in Americas", 11.0))
    expected = 208 * 0.03 + 1872 * 0.003 + 8 * 11 + 16 * 375 * 0.08 / MONTH + DISK + IP
    assert price(run, "a3-megagpu-8g") == pytest.approx(expected)
    assert MachineType("a3-megagpu-8g", 208, 0, "X86_64", frozenset()).series == "a3"


@pytest.mark.parametrize(
    ("max_price", "bought"),
    [
        (None, ["spot c3-standard-4", "spot n2-standard-2"]),
        (1.0, ["spot c3-standard-4", "spot n2-standard-2"]),
        (0.03, ["spot n2-standard-2"]),  # Google itself takes no limit
        (0.01, []),
    ],
)
def test_spot_instances_above_the_highest_price_are_left_out(run, gce, caplog, max_price, bought):
    types = ["c3-standard-4", "n2-standard-2"]
    made = plan(run, machine_type=types)
    prices = prices_of(run, *(offer.price_key for offer in made.offers))
    with caplog.at_level(logging.WARNING, "bigmachine.gcp"):
        offers = within_max_price(prices, made.offers, max_price=max_price)
    on_demand = [f"on-demand {name}" for name in types]
    assert [f"{o.market} {o.type_name}" for o in offers] == [*bought, *on_demand]
    assert any("until prices fall" in text for text in caplog.messages) == (not bought)
    spot = [offer for offer in made.offers if offer.market == "spot"]
    if not bought:
        with pytest.raises(StartError, match=r"max_price: no spot instance costs \$0\.01 an hour"):
            within_max_price(prices, spot, max_price=max_price)


def test_highest_price_is_refused_where_the_price_is_unknown(run, gce):
    gce.access.disabled_apis.add("cloudbilling.googleapis.com")
    made = plan(run)
    prices = prices_of(run, *(offer.price_key for offer in made.offers))
    with pytest.raises(StartError) as caught:
        within_max_price(prices, made.offers, max_price=1.0)
    said = str(caught.value)
    assert said.startswith("max_price: the price of a spot n2-standard-2 is unknown")
    assert "`gcloud services enable cloudbilling.googleapis.com" in said
    assert within_max_price(prices, made.offers, max_price=None) == made.offers


def test_price_list_is_kept_for_a_day(run, gce, tmp_path):
    file = tmp_path / "not yet" / "prices.json"
    key = PriceKey("spot", "n2-standard-2", ZONE)

    def fetch() -> Prices:
        found: list[Prices] = []

        async def test(kit):
            api = kit.api
            found.append(Prices(api, kit.options, cache_file=file))
            await found[0].fetch([key])
            await api.close()

        run(test)
        return found[0]

    spot, _ = plan(run).offers
    first = fetch().per_hour(spot)
    requests = gce.price_list.requests
    assert fetch().per_hour(spot) == first == pytest.approx(N2 * SPOT + DISK + IP / 2)
    assert gce.price_list.requests == requests
    for damaged in (b"", b"{}", b'{"format": 1, "time": 0, "rates": []}', b"[1]", b"\xff"):
        file.write_bytes(damaged)
        assert fetch().per_hour(spot) == first
        assert gce.price_list.requests == 2 * requests
        gce.price_list.requests = requests
    content = json.loads(file.read_bytes())
    file.write_text(json.dumps({**content, "time": content["time"] - 25 * 3600}))
    assert fetch().per_hour(spot) == first
    assert gce.price_list.requests == 2 * requests
    gce.price_list.skus.clear()
    gce.access.disabled_apis.add("cloudbilling.googleapis.com")
    file.unlink()
    assert fetch().per_hour(spot) is None
    assert [*file.parent.iterdir()] == []  # a failure is not kept


def test_price_list_that_cannot_be_kept_is_used(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    save_rates(in_the_way / "prices.json", [])
    assert load_rates(in_the_way / "prices.json") is None
    assert [*tmp_path.iterdir()] == [in_the_way]


def test_price_list_is_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_file() == tmp_path / "bigmachine" / "gcp-prices.json"


def test_started_and_listed_instances_have_their_price(run, gce, consistent):
    async def test(kit):
        [started] = await kit.start()
        assert started.cost_per_hour == pytest.approx(N2 * SPOT + DISK + IP / 2)
        listed = [each for each in await kit.system.instances() if each.cost_per_hour]
        assert [each.cost_per_hour for each in listed] == [started.cost_per_hour]

    run(test)


def test_cost_limit_without_prices_says_how_to_get_them(run, gce):
    gce.access.disabled_apis.add("cloudbilling.googleapis.com")

    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.setup()
        assert str(caught.value).startswith("max_session_cost: the machines' prices are unknown")
        assert "`gcloud services enable cloudbilling.googleapis.com" in str(caught.value)

    run(test, max_session_cost=1.0)


def test_cost_limit_for_types_without_a_price_is_refused(run, gce):
    gce.price_list.skus[:] = [s for s in gce.price_list.skus if "C4" not in s["description"]]

    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.setup()
        text = "max_session_cost: Google has no price in US dollars for c4-standard-2: name other"
        assert str(caught.value).startswith(text)

    run(test, max_session_cost=1.0, machine_type="c4-standard-2")


def test_instances_above_the_highest_price_are_not_launched(run, gce):
    async def test(kit):
        [started] = await kit.start()
        assert started.details["instance_type"] == "n2-standard-2"

    run(test, machine_type=["c3-standard-4", "n2-standard-2"], max_price=0.03)
