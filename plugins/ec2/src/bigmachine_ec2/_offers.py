"""What there is to buy: types, on markets, in subnets, in the user's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ._image import Image
from ._network import Subnet
from ._options import Ec2Options
from ._prices import Good
from ._types import InstanceType


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing to try to buy: a type, on a market, in a subnet."""

    market: str
    kind: InstanceType
    image: Image
    subnet: Subnet

    def __str__(self) -> str:
        return f"{self.market} {self.kind} in {self.subnet.zone}"

    @property
    def good(self) -> Good:
        """What of it makes its price."""
        return Good(self.market, self.kind.name, self.subnet.zone)


def offers(
    o: Ec2Options,
    types: Sequence[InstanceType],
    images: Mapping[str, Image],
    subnets: Sequence[Subnet],
) -> list[Offer]:
    """List what can be bought, in order: zones first, then types, and markets last."""
    return [
        Offer(market, kind, images[kind.architecture], subnet)
        for market in o.markets
        for kind in types
        if market in kind.markets
        for subnet in subnets
        if subnet.zone in kind.zones
    ]


def by_fleet(offers: Sequence[Offer]) -> Iterator[list[Offer]]:
    """Yield what one fleet can choose among, in order: one market, and one subnet of each zone.

    "An EC2 Fleet request can't span different subnets from the same Availability Zone" ("Quotas
    for EC2 Fleet"). So a zone's second subnet comes after the first ones of all zones.
    """
    for market in dict.fromkeys(offer.market for offer in offers):
        here = [offer for offer in offers if offer.market == market]
        subnets: dict[str, list[Subnet]] = {}
        for subnet in dict.fromkeys(offer.subnet for offer in here):
            subnets.setdefault(subnet.zone, []).append(subnet)
        for turn in range(max(map(len, subnets.values()))):
            chosen = {own[turn] for own in subnets.values() if turn < len(own)}
            yield [offer for offer in here if offer.subnet in chosen]


def is_for_fleet(offers: Sequence[Offer]) -> bool:
    """Whether a fleet buys these best: EC2 has something to choose, or it is spot instances."""
    return len(offers) > 1 or offers[0].market == "spot"
