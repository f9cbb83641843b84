"""Regions of China, GovCloud and the sovereign clouds: prices, currencies, and images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import trio

from bigmachine.errors import StartError, UsageError
from bigmachine_ec2 import Ec2Options
from bigmachine_ec2.api._api import Api
from bigmachine_ec2.catalog._images import default_image_id
from bigmachine_ec2.catalog._prices import PriceKey, Prices
from bigmachine_ec2.plan._budget import check_max_price, check_prices
from tests.support.aws.prices import SPOT

if TYPE_CHECKING:
    from tests.support.aws.aws import Aws


def prices_in(aws: Aws, region: str) -> Prices:
    """Fetch the prices of a region for a spot instance and one on demand."""
    options = Ec2Options(region=region, endpoint_url=aws.url)
    api = Api(options)

    async def fetch() -> None:
        await api.open()
        await prices.fetch(PriceKey(m, "c7i.large", f"{region}a") for m in ("spot", "on-demand"))

    prices = Prices(api, options)
    trio.run(fetch)
    return prices


def priced(market: str, zone: str) -> SimpleNamespace:
    """Return what has the price of an instance in a zone."""
    return SimpleNamespace(price_key=PriceKey(market, "c7i.large", zone))


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("eu-west-1", "us-east-1"),
        ("eu-central-9", "us-east-1"),
        ("cn-north-1", "cn-northwest-1"),
        ("us-gov-west-1", ""),
        ("us-iso-west-1", "us-iso-east-1"),
        ("eusc-de-east-1", "eusc-de-east-1"),
    ],
)
def test_price_list_is_that_of_the_regions_partition(aws, region, expected):
    async def test():
        await api.open()
        assert api.price_list_region == expected

    api = Api(Ec2Options(region=region))
    trio.run(test)


@pytest.mark.parametrize(("region", "currency"), [("cn-north-1", "yuan"), ("eusc-de-1", "euros")])
def test_prices_in_other_currencies_are_never_taken_for_dollars(aws, region, currency):
    prices = prices_in(aws, region)
    for market in ("spot", "on-demand"):
        assert prices.per_hour(priced(market, f"{region}a")) is None
    assert not aws.asked
    with pytest.raises(StartError) as caught:
        check_prices(prices, (), caller_arn="")
    said = f"AWS's prices in {region} are in {currency}, not in US dollars"
    assert said in str(caught.value)
    with pytest.raises(UsageError, match=f"max_price: is in US dollars, but .* in {currency}"):
        check_max_price(prices, (), max_price=0.1)


def test_govcloud_has_spot_prices_and_no_price_list(aws):
    prices = prices_in(aws, "us-gov-west-1")
    assert prices.spot_per_hour(priced("spot", "us-gov-west-1a")) == SPOT
    assert aws.count("GetProducts") == 0
    with pytest.raises(StartError, match="price list can't be read .* account in us-gov-west-1"):
        check_prices(prices, (), caller_arn="")


@pytest.mark.parametrize(
    ("region", "owner"),
    [("us-gov-west-1", "513442679011"), ("cn-north-1", "837727238323")],
)
def test_ubuntu_without_a_parameter_is_found_by_its_publisher(aws, region, owner):
    async def find() -> str:
        return await default_image_id(Api(options), "x86_64", (3, 12))

    def answer(parameters) -> bytes:
        asked.update(parameters)
        return images

    asked: dict[str, str] = {}
    options = Ec2Options(region=region, endpoint_url=aws.url)
    aws.answer("DescribeImages", answer)
    images = IMAGES % (image("ami-old", "2025-01-02") + image("ami-new", "2025-10-02")).encode()
    assert trio.run(find) == "ami-new"
    assert asked["Owner.1"] == owner
    assert asked["Filter.1.Value.1"].endswith("/ubuntu-*-24.04-amd64-server-*")
    images = IMAGES % b""
    with pytest.raises(UsageError, match=f"no SSM parameter .* in {region}; pass an AMI"):
        trio.run(find)


IMAGES = (
    b'<DescribeImagesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
    b"<imagesSet>%b</imagesSet></DescribeImagesResponse>"
)


def image(id: str, day: str) -> str:
    return f"<item><imageId>{id}</imageId><creationDate>{day}T00:00:00.000Z</creationDate></item>"
