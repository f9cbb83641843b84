"""Buying instances: over markets, types and subnets in the user's order, until there are enough."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.errors import BigmachineError, StartError

from . import _tags
from ._api import Api
from ._errors import AwsError, explain
from ._image import Image
from ._machines import Machines, Vm
from ._network import Subnet
from ._options import Ec2Options
from ._prices import Good
from ._types import InstanceType

logger = logging.getLogger("bigmachine.ec2")

USER_DATA_LIMIT = 16384  # bytes before base64, by "Run commands when you launch an EC2 instance"
_MOST_AT_ONCE = 100
_VOLUME_TYPE = "gp3"


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


def run_request(
    o: Ec2Options,
    offer: Offer,
    *,
    tags: Mapping[str, str],
    groups: Sequence[str],
    user_data: bytes = b"",
) -> dict[str, Any]:
    """Return the parameters of RunInstances, but for how many."""
    card: dict[str, Any] = {
        "DeviceIndex": 0,
        "SubnetId": offer.subnet.id,
        "AssociatePublicIpAddress": o.public_address,
        "DeleteOnTermination": True,
    }
    disk = {"VolumeSize": o.disk, "VolumeType": _VOLUME_TYPE, "DeleteOnTermination": True}
    kinds = ["instance", "volume", "network-interface"]
    request: dict[str, Any] = {
        "ImageId": offer.image.id,
        "InstanceType": offer.kind.name,
        "InstanceInitiatedShutdownBehavior": "terminate",  # else a VM that powers off is kept
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
        "NetworkInterfaces": [{**card, "Groups": [*groups]} if groups else card],
        "BlockDeviceMappings": [{"DeviceName": offer.image.root_device, "Ebs": disk}],
    }
    if user_data:
        request["UserData"] = user_data
    if offer.market == "spot":
        kinds.append("spot-instances-request")
        spot = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        if o.max_price is not None:
            spot["MaxPrice"] = f"{o.max_price:f}"
        request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": spot}
    if o.instance_profile:
        key = "Arn" if o.instance_profile.startswith("arn:") else "Name"
        request["IamInstanceProfile"] = {key: o.instance_profile}
    if o.key_pair:
        request["KeyName"] = o.key_pair
    return {**request, "TagSpecifications": _tags.tag_specifications(tags, *kinds)}


class Launch:
    """The purchases of one ``start``: what was tried, what came of it.

    ``vms`` are the instances that were made, in the order of the names given.
    """

    def __init__(
        self,
        api: Api,
        machines: Machines,
        *,
        options: Ec2Options,
        offers: Sequence[Offer],
        tags: Mapping[str, str],
        groups: Sequence[str],
        user_data: bytes,
    ) -> None:
        self.vms: list[Vm] = []
        self.tokens: list[str] = []
        """Client tokens of requests of which nobody knows what became."""
        self._api = api
        self._machines = machines
        self._options = options
        self._offers = offers
        self._tags = tags
        self._groups = groups
        self._user_data = user_data
        self._story: list[tuple[Offer, AwsError]] = []

    async def buy(self, names: Sequence[str]) -> None:
        """Buy an instance for each name, or for the first of them as far as it goes."""
        labels = [name.partition(".")[0] for name in names]
        closed: set[str] = set()
        for offer in self._offers:
            if offer.market in closed:
                continue
            most = _MOST_AT_ONCE
            while wanted := [*_fitting(labels[len(self.vms) :][:most])]:
                try:
                    made = await self._run(offer, wanted)
                except AwsError as error:
                    self._story.append((offer, error))
                    logger.info("%s: %s", offer, error)
                    if error.is_quota and len(wanted) > 1:
                        most = len(wanted) // 2  # the quota may have room for some
                        continue
                    if error.is_quota:
                        closed.add(offer.market)
                    elif not error.is_capacity:
                        return  # no other offer would mend that
                    break
                if made < len(wanted):
                    break

    def story(self) -> str:
        """Tell what was tried in vain, and what AWS said, a line for each kind of refusal."""
        refusals: dict[tuple[str, str, str], list[tuple[Offer, AwsError]]] = {}
        for offer, error in self._story:
            refusals.setdefault((offer.market, offer.kind.name, error.code), []).append(
                (offer, error)
            )
        return "\n".join(
            f"  {market} {kind} in {', '.join(dict.fromkeys(o.subnet.zone for o, _ in those))}: "
            f"{code}: {those[0][1].message}"
            for (market, kind, code), those in refusals.items()
        )

    def failure(self, *, who: str) -> BigmachineError:
        """Return the error of a start that got nothing."""
        *_, (_, last) = self._story
        if not (last.is_capacity or last.is_quota):
            return explain(last, who=who)
        is_quota = any(error.is_quota for _, error in self._story)
        advice = (
            "have the quota raised (Service Quotas, Amazon EC2)" if is_quota else "try again later"
        )
        return StartError(
            f"EC2 has no machine for us in {self._api.region}. What was tried, and what AWS "
            f"answered:\n{self.story()}\nName other types or subnets, allow another market or "
            f"price, use another region, or {advice}."
        )

    async def _run(self, offer: Offer, labels: Sequence[str]) -> int:
        """Buy up to one instance for each label; return how many were had."""
        token = secrets.token_hex(16)
        request = run_request(
            self._options,
            offer,
            tags={**self._tags, _tags.MACHINES: " ".join(labels)},
            groups=self._groups,
            user_data=self._user_data,
        )
        self.tokens.append(token)
        try:
            reply = await self._api.write(
                "ec2:RunInstances",
                MinCount=1,
                MaxCount=len(labels),
                ClientToken=token,
                **request,
            )
        except AwsError as error:
            if not error.is_unknown:
                self.tokens.remove(token)
            raise
        self.tokens.remove(token)
        for raw in sorted(reply["Instances"], key=lambda raw: int(raw["AmiLaunchIndex"])):
            vm = Vm.of(raw)
            self._machines.note(vm.id)
            self.vms.append(vm)
        logger.info("%d of %d: %s", len(reply["Instances"]), len(labels), offer)
        return len(reply["Instances"])


def _fitting(labels: Sequence[str]) -> Iterator[str]:
    """Yield as many of the first labels as one tag holds."""
    room = _tags.MOST_VALUE + 1
    for label in labels:
        room -= len(label) + 1
        if room < 0:
            return
        yield label
