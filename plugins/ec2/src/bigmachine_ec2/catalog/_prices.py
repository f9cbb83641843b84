"""What instances cost an hour: requested from AWS once per session, for all that it may launch."""

from __future__ import annotations

import datetime
import functools
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import trio

from bigmachine.cloud import for_each, price_seconds
from bigmachine.errors import StartError
from bigmachine.system import Instance

from ..api._advice import explain
from ..api._api import Api
from ..api._errors import AwsError
from ..options._options import Ec2Options
from ._instance_types import is_in_region

logger = logging.getLogger("bigmachine.ec2")

LINUX = "RunInstances"
"""The usage operation of instances whose operating system has no price of its own.

Others are those of "AMI billing information fields" in the EC2 user guide; the price list has them
as ``operation``.
"""

_TIMEOUT = 10.0  # a start must not wait longer for prices that are merely shown
_SPOT_SECONDS = 600.0  # for which a spot price is believed; it changes some times a day
_MAX_PRODUCTS = 100  # on a page, by the API reference of GetProducts
_HOURS_PER_MONTH = 720.0  # of a GB-month, by the examples of "Amazon EBS pricing"

# Attributes of the products in the price list. Without all of these, a type is also listed as
# reserved and unused, for free, and as part of a Capacity Block.
_ON_DEMAND = {
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
    "locationType": "AWS Region",
}
_ON_LINUX = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "licenseModel": "No License required",
}
# By usage operation, all of the API reference of DescribeSpotPriceHistory but Windows.
_SPOT_PRODUCTS = {
    LINUX: "Linux/UNIX",
    "RunInstances:0010": "Red Hat Enterprise Linux",
    "RunInstances:000g": "SUSE Linux",
}
_DISK = {"productFamily": "Storage", "volumeApiName": "gp3", "locationType": "AWS Region"}
_ADDRESS = {"group": "VPCPublicIPv4Address"}
# Of the regions whose prices are not in US dollars, by their first letters: the price list says
# so (aws/karpenter-provider-aws pull request 4677), and the spot price history doesn't.
_CURRENCIES = {"cn-": "yuan", "eusc-": "euros"}
_ADDRESS_USAGE = "PublicIPv4:InUseAddress"  # the end of a usage type; the group has others


@dataclass(frozen=True, slots=True)
class PriceKey:
    """What an instance's price depends on.

    ``usage`` is the usage operation of its image, as of an operating system with a licence, and
    ``is_dedicated`` whether it has hardware of its own.
    """

    market: str
    instance_type: str
    zone: str
    usage: str = LINUX
    is_dedicated: bool = False


class HasPrice(Protocol):
    """What has a price: an offer, or an instance."""

    @property
    def price_key(self) -> PriceKey: ...


class Prices:
    """Prices in US dollars, as far as AWS tells them.

    Each is requested once, and those of spot instances again after ten minutes. An instance's
    price includes the disks and the public address that the options give it. A bill has more on
    it, which depends on use: above all, traffic. Unknown are the prices of Local Zones, for whose
    disks and addresses there are others, and of Dedicated Instances, which also have a fee.
    """

    def __init__(self, api: Api, options: Ec2Options) -> None:
        self.failure: Exception | None = None
        """Why some prices are unknown."""
        self._api = api
        self._options = options
        self._spot: dict[tuple[str, str, str], float] = {}  # an hour, by usage, type and zone
        self._on_demand: dict[tuple[str, str], float] = {}  # by usage and type
        self._extras: dict[str, float] = {}  # what comes with each instance
        self._fetched: dict[PriceKey, float] = {}  # when, by trio's clock

    async def fetch(self, keys: Iterable[PriceKey]) -> None:
        """Request these prices. Failures are logged, and no error."""
        keys = [key for key in keys if not self._is_fresh(key)]
        if not keys:
            return
        requests: list[Callable[[], Awaitable[None]]] = []
        spot = [key for key in keys if key.market == "spot"]
        for usage in dict.fromkeys(key.usage for key in spot):
            if usage in _SPOT_PRODUCTS:
                requests.append(functools.partial(self._fetch_spot, spot, usage))
        on_demand = [(key.usage, key.instance_type) for key in keys if key.market == "on-demand"]
        for usage, instance_type in dict.fromkeys(on_demand):
            if (usage, instance_type) not in self._on_demand:
                requests.append(functools.partial(self._fetch_on_demand, usage, instance_type))
        if not self._extras:
            requests.append(self._fetch_disk)
            if self._options.public_address:
                requests.append(self._fetch_address)
        await for_each(requests, self._attempt)
        self._fetched.update(dict.fromkeys(keys, trio.current_time()))

    def _is_fresh(self, key: PriceKey) -> bool:
        fetched = self._fetched.get(key)
        return fetched is not None and (
            key.market != "spot" or trio.current_time() < fetched + _SPOT_SECONDS
        )

    def per_hour(self, offer: HasPrice, /) -> float | None:
        """Return what an instance costs an hour, its extras included; None if unknown."""
        key = offer.price_key
        if key.is_dedicated or not is_in_region(key.zone, self._api.region):
            return None
        price = (
            self.spot_per_hour(offer)
            if key.market == "spot"
            else self._on_demand.get((key.usage, key.instance_type))
            if key.market == "on-demand"
            else None
        )
        return None if price is None else price + sum(self._extras.values())

    def priced(self, instance: Instance, vm: HasPrice) -> Instance:
        """Return an instance with its price."""
        return replace(instance, cost_per_hour=self.per_hour(vm))

    def spot_per_hour(self, offer: HasPrice, /) -> float | None:
        """Return what a spot instance alone costs an hour; None if unknown."""
        key = offer.price_key
        return self._spot.get((key.usage, key.instance_type, key.zone))

    @property
    def foreign_currency(self) -> str:
        """The currency of the region's prices, if it is not the US dollar."""
        region = self._api.region
        return next((c for prefix, c in _CURRENCIES.items() if region.startswith(prefix)), "")

    def _check_currency(self) -> None:
        if currency := self.foreign_currency:
            raise StartError(
                f"AWS's prices in {self._api.region} are in {currency}, not in US dollars"
            )

    async def _attempt(self, request: Callable[[], Awaitable[None]]) -> None:
        try:
            await request()
        except (AwsError, StartError) as error:
            if self.failure is None:
                why = explain(error) if isinstance(error, AwsError) else error
                logger.info("some or all prices are unknown: %s", why)
            self.failure = error

    async def _fetch_spot(self, keys: Sequence[PriceKey], usage: str) -> None:
        self._check_currency()
        zones = [*dict.fromkeys(key.zone for key in keys)]
        # A start time of now returns the last change before it, by the API reference.
        raws = await self._read_all(
            "ec2:DescribeSpotPriceHistory",
            "SpotPriceHistory",
            StartTime=datetime.datetime.now(datetime.UTC),
            ProductDescriptions=[_SPOT_PRODUCTS[usage]],
            InstanceTypes=[*dict.fromkeys(key.instance_type for key in keys)],
            Filters=[{"Name": "availability-zone", "Values": zones}],
        )
        for raw in sorted(raws, key=lambda raw: raw["Timestamp"].timestamp()):
            place = raw["InstanceType"], raw["AvailabilityZone"]
            self._spot[(usage, *place)] = float(raw["SpotPrice"])

    async def _fetch_on_demand(self, usage: str, instance_type: str) -> None:
        system = _ON_LINUX if usage == LINUX else {"operation": usage}
        wanted = {"instanceType": instance_type, **_ON_DEMAND, **system}
        if prices := await self._products("AmazonEC2", wanted):
            self._on_demand[usage, instance_type] = max(prices)

    async def _fetch_disk(self) -> None:
        a_month = await self._highest("AmazonEC2", _DISK, "gp3 disks")
        gibibytes = self._options.disk + self._options.data_disk
        self._extras["disk"] = gibibytes * a_month / _HOURS_PER_MONTH

    async def _fetch_address(self) -> None:
        self._extras["address"] = await self._highest(
            "AmazonVPC", _ADDRESS, "public addresses", usage=_ADDRESS_USAGE
        )

    async def _highest(
        self, service: str, attributes: Mapping[str, str], product_name: str, *, usage: str = ""
    ) -> float:
        prices = await self._products(service, attributes, usage=usage)
        if not prices:
            raise StartError(
                f"AWS's price list has no price in US dollars for {product_name} in "
                f"{self._api.region}"
            )
        return max(prices)

    async def _products(
        self, service: str, attributes: Mapping[str, str], *, usage: str = ""
    ) -> list[float]:
        """Return the prices, above 0, of the region's products with these attributes."""
        self._check_currency()
        if not self._api.price_list_region:
            raise StartError(
                f"AWS's price list can't be read with the credentials of an account in "
                f"{self._api.region}"
            )
        wanted = {"regionCode": self._api.region, **attributes}
        raws = await self._read_all(
            "pricing:GetProducts",
            "PriceList",
            ServiceCode=service,
            FormatVersion="aws_v1",
            MaxResults=_MAX_PRODUCTS,
            Filters=[
                {"Type": "TERM_MATCH", "Field": field, "Value": value}
                for field, value in wanted.items()
            ],
        )
        products = [json.loads(raw) for raw in raws]
        return [
            price
            for product in products
            if product["product"]["attributes"].get("usagetype", "").endswith(usage)
            for price in _dollars(product)
            if price > 0
        ]

    async def _read_all(self, action: str, key: str, **parameters: Any) -> list[Any]:
        timeout = price_seconds(self._options, shown=_TIMEOUT)
        with trio.move_on_after(timeout):
            return await self._api.read_all(action, key, **parameters)
        why = f"no response within {timeout:g} s"
        raise AwsError(action, "ReadTimeout", why, is_response=False)


def _dollars(product: Mapping[str, Any]) -> list[float]:
    """Return a product's prices, as in the API reference's example of GetProducts."""
    return [
        float(dimension["pricePerUnit"].get("USD", 0))
        for term in product.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
    ]
