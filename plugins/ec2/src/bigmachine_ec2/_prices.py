"""What instances cost an hour: asked of AWS once a session, for all that it may buy."""

from __future__ import annotations

import datetime
import functools
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.errors import StartError
from bigmachine.system import Instance

from ._advice import explain
from ._api import Api
from ._batch import for_each
from ._errors import AwsError
from ._options import Ec2Options

if TYPE_CHECKING:
    from ._offers import Offer

logger = logging.getLogger("bigmachine.ec2")

_PATIENCE = 10.0  # nobody waits longer to know what is merely shown
_MOST_PRODUCTS = 100  # on a page, by the API reference of GetProducts
_HOURS_PER_MONTH = 720.0  # of a GB-month, by the examples of "Amazon EBS pricing"
_LEAST_SECONDS = 60.0  # billed of each instance, by "Per-second billing" of EC2's price pages

# Attributes of the products in the price list. Without all of these, the same type is also there
# as reserved and not used, for free, and as part of a Capacity Block.
_ON_DEMAND = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "licenseModel": "No License required",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
    "locationType": "AWS Region",
}
_DISK = {"productFamily": "Storage", "volumeApiName": "gp3", "locationType": "AWS Region"}
_ADDRESS = {"group": "VPCPublicIPv4Address"}
_ADDRESS_USAGE = "PublicIPv4:InUseAddress"  # the end of a usage type; the group has idle ones, too


@dataclass(frozen=True, slots=True)
class Good:
    """What makes an instance's price: a type, on a market, in an availability zone."""

    market: str
    kind: str
    zone: str


class Prices:
    """Prices in US dollars, as far as AWS tells them; each is asked for once.

    An instance's is that of its type, and of the disks and the public address that the
    options give it. There is more on a bill, and it depends on use: above all, traffic.
    """

    def __init__(self, api: Api, options: Ec2Options) -> None:
        self._api = api
        self._options = options
        self._spot: dict[tuple[str, str], float] = {}  # by type and zone; each an hour
        self._on_demand: dict[str, float] = {}  # by type
        self._extras: dict[str, float] = {}  # what comes with each instance
        self._asked: set[Good] = set()
        self._failure: Exception | None = None

    async def ask(self, goods: Iterable[Good]) -> None:
        """Ask for the prices of these; what can't be had is logged, and no error."""
        goods = [good for good in goods if good not in self._asked]
        if not goods:
            return
        questions: list[Callable[[], Awaitable[None]]] = []
        if spot := [good for good in goods if good.market == "spot"]:
            questions.append(functools.partial(self._ask_spot, spot))
        for kind in dict.fromkeys(good.kind for good in goods if good.market == "on-demand"):
            if kind not in self._on_demand:
                questions.append(functools.partial(self._ask_on_demand, kind))
        if not self._extras:
            questions.append(self._ask_disk)
            if self._options.public_address:
                questions.append(self._ask_address)
        await for_each(questions, self._answer)
        self._asked.update(goods)

    def per_hour(self, good: Good) -> float | None:
        """Return what an instance costs an hour, with what comes with it; None: not known."""
        price = (
            self._spot.get((good.kind, good.zone))
            if good.market == "spot"
            else self._on_demand.get(good.kind)
            if good.market == "on-demand"
            else None
        )
        return None if price is None else price + sum(self._extras.values())

    def priced(self, instance: Instance) -> Instance:
        """Return one of ours with its price."""
        details = instance.details
        good = Good(details["market"], details["instance_type"], instance.zone)
        return replace(instance, cost_per_hour=self.per_hour(good))

    def check_max_price(self, offers: Sequence[Offer]) -> None:
        """Say so if spot instances cost more than ``max_price`` everywhere, for all types.

        Raises `StartError` if there is no other market; else a warning is logged. Nothing
        happens where a price is not known.
        """
        most = self._options.max_price
        places = [(o.kind.name, o.subnet.zone) for o in offers if o.market == "spot"]
        if most is None or not places:
            return
        if any(self._spot.get(place, 0.0) <= most for place in places):
            return
        (kind, zone), least = min(
            ((place, self._spot[place]) for place in places), key=lambda item: item[1]
        )
        told = (
            f"max_price: ${most:g} an hour buys no spot instance now: the cheapest is {kind} in "
            f"{zone}, for ${least:g}"
        )
        if all(offer.market == "spot" for offer in offers):
            raise StartError(f"{told}. Raise it, name other types, or try again later")
        logger.warning("%s; until prices fall, all are bought on demand", told)

    def check(self, offers: Sequence[Offer], *, who: str) -> None:
        """Raise `StartError`, saying what to do, unless what is bought can be paid for knowingly.

        ``who`` is the ARN of the credentials.
        """
        if error := self._failure:
            why = explain(error, who=who) if isinstance(error, AwsError) else error
            raise StartError(f"max_session_cost: what machines cost is not known. {why}") from error
        if all(self.per_hour(offer.good) is None for offer in offers):
            names = ", ".join(dict.fromkeys(offer.kind.name for offer in offers))
            raise StartError(f"max_session_cost: AWS has no price in US dollars for {names}")

    def within(self, offers: Sequence[Offer], *, count: int, dollars: float) -> Sequence[Offer]:
        """Return those of which ``count`` cost no more than ``dollars`` for the least time.

        Raises `StartError` if there are none.
        """
        prices = {offer: self.per_hour(offer.good) for offer in offers}
        bills = {
            offer: count * price * _LEAST_SECONDS / 3600
            for offer, price in prices.items()
            if price is not None
        }
        affordable = [offer for offer, bill in bills.items() if bill <= dollars]
        if not affordable:
            cheapest, bill = min(bills.items(), key=lambda item: item[1])
            raise StartError(
                f"max_session_cost: {count} × {cheapest.kind.name} {cheapest.market} cost "
                f"${bill:.4f} for a minute, which is the least, and ${max(0.0, dollars):.4f} are "
                f"left: nothing was bought"
            )
        return affordable

    async def _answer(self, question: Callable[[], Awaitable[None]]) -> None:
        try:
            await question()
        except (AwsError, StartError) as error:
            if self._failure is None:
                why = explain(error) if isinstance(error, AwsError) else error
                logger.info("what machines cost is not known, or in part: %s", why)
            self._failure = error

    async def _ask_spot(self, goods: Sequence[Good]) -> None:
        now = datetime.datetime.now(datetime.UTC)
        # From now on: that is, the last change before, by the API reference.
        raws = await self._all(
            "ec2:DescribeSpotPriceHistory",
            "SpotPriceHistory",
            StartTime=now,
            ProductDescriptions=["Linux/UNIX"],
            InstanceTypes=[*dict.fromkeys(good.kind for good in goods)],
            Filters=[
                {
                    "Name": "availability-zone",
                    "Values": [*dict.fromkeys(good.zone for good in goods)],
                }
            ],
        )
        for raw in sorted(raws, key=lambda raw: raw["Timestamp"].timestamp()):
            self._spot[raw["InstanceType"], raw["AvailabilityZone"]] = float(raw["SpotPrice"])

    async def _ask_on_demand(self, kind: str) -> None:
        prices = await self._products("AmazonEC2", {"instanceType": kind, **_ON_DEMAND})
        if prices:
            self._on_demand[kind] = max(prices)

    async def _ask_disk(self) -> None:
        a_month = await self._one("AmazonEC2", _DISK, "gp3 disks")
        gibibytes = self._options.disk + self._options.data_disk
        self._extras["disk"] = gibibytes * a_month / _HOURS_PER_MONTH

    async def _ask_address(self) -> None:
        self._extras["address"] = await self._one(
            "AmazonVPC", _ADDRESS, "public addresses", usage=_ADDRESS_USAGE
        )

    async def _one(
        self, service: str, attributes: Mapping[str, str], what: str, *, usage: str = ""
    ) -> float:
        prices = await self._products(service, attributes, usage=usage)
        if not prices:
            raise StartError(
                f"AWS's price list has none in US dollars for {what} in {self._api.region}"
            )
        return max(prices)

    async def _products(
        self, service: str, attributes: Mapping[str, str], *, usage: str = ""
    ) -> list[float]:
        """Return the prices of products with these attributes in the region, but free ones."""
        wanted = {"regionCode": self._api.region, **attributes}
        raws = await self._all(
            "pricing:GetProducts",
            "PriceList",
            ServiceCode=service,
            FormatVersion="aws_v1",
            MaxResults=_MOST_PRODUCTS,
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

    async def _all(self, action: str, key: str, **parameters: Any) -> list[Any]:
        with trio.move_on_after(_PATIENCE):
            return await self._api.read_all(action, key, **parameters)
        why = f"no answer for {_PATIENCE:g} s"
        raise AwsError(action, "ConnectTimeoutError", why, is_answer=False)


def _dollars(product: Mapping[str, Any]) -> list[float]:
    """Return a product's prices, as in the API reference's example of GetProducts."""
    return [
        float(dimension["pricePerUnit"].get("USD", 0))
        for term in product.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
    ]
