"""What can be bought: types, on markets, in subnets, in the user's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..catalog._images import Image
from ..catalog._instance_types import InstanceType
from ..catalog._prices import PriceKey
from ..options._options import Ec2Options
from ..resources._network import Network, Subnet


@dataclass(frozen=True, slots=True)
class Offer:
    """An instance type, on a market, in a subnet: a capacity pool to try.

    ``is_dedicated`` is whether its instances have hardware of their own.
    """

    market: str
    instance_type: InstanceType
    image: Image
    subnet: Subnet
    is_dedicated: bool = False

    def __str__(self) -> str:
        return f"{self.market} {self.instance_type} in {self.subnet.zone}"

    @property
    def type_name(self) -> str:
        """The name of the instance type."""
        return self.instance_type.name

    @property
    def zone(self) -> str:
        """The availability zone."""
        return self.subnet.zone

    @property
    def price_key(self) -> PriceKey:
        """What its price depends on."""
        return PriceKey(
            self.market,
            self.instance_type.name,
            self.subnet.zone,
            usage=self.image.usage,
            is_dedicated=self.is_dedicated,
        )


def list_offers(
    o: Ec2Options,
    types: Sequence[InstanceType],
    images: Mapping[str, Image],
    network: Network,
) -> list[Offer]:
    """List what can be bought, in order: zones change first, then types, and markets last."""
    return [
        Offer(
            market,
            instance_type,
            images[instance_type.architecture],
            subnet,
            is_dedicated=network.is_dedicated,
        )
        for market in o.markets
        for instance_type in types
        if market in instance_type.markets
        for subnet in network.subnets
        if subnet.zone in instance_type.zones
    ]


MAX_OVERRIDES = 300
"""How many offers one fleet gets.

It is the limit of other types of fleets (API reference of FleetLaunchTemplateConfigRequest). An
instant one has no documented limit, but a request with a hundred types in all zones is refused
as too large (karpenter-provider-aws, issue 5776).
"""


def fleet_groups(offers: Sequence[Offer]) -> Iterator[list[Offer]]:
    """Yield the offers that one fleet can choose among, in order: one market, one subnet per zone.

    "An EC2 Fleet request can't span different subnets from the same Availability Zone" ("Quotas
    for EC2 Fleet"). So a zone's second subnet comes after the first ones of all zones.
    """
    for market in dict.fromkeys(offer.market for offer in offers):
        of_market = [offer for offer in offers if offer.market == market]
        subnets: dict[str, list[Subnet]] = {}
        for subnet in dict.fromkeys(offer.subnet for offer in of_market):
            subnets.setdefault(subnet.zone, []).append(subnet)
        for index in range(max(map(len, subnets.values()))):
            chosen = {of_zone[index] for of_zone in subnets.values() if index < len(of_zone)}
            group = [offer for offer in of_market if offer.subnet in chosen]
            for start in range(0, len(group), MAX_OVERRIDES):
                yield group[start : start + MAX_OVERRIDES]


def is_for_fleet(offers: Sequence[Offer]) -> bool:
    """Whether a fleet launches these best: EC2 can choose, or they are spot instances."""
    return len(offers) > 1 or offers[0].market == "spot"
