"""What an instance is to be: one description, and the requests that are made of it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from . import _tags
from ._errors import AwsError
from ._machines import Vm
from ._offers import Offer
from ._options import Ec2Options
from ._volumes import block_devices


@dataclass(frozen=True, slots=True)
class Order:
    """What all instances of one start have in common."""

    options: Ec2Options
    tags: Mapping[str, str]
    groups: Sequence[str]
    user_data: bytes = b""

    def run_request(self, offer: Offer, *, request: str = "") -> dict[str, Any]:
        """Return the parameters of RunInstances, but for how many.

        ``request`` is the token by which what was made is found again.
        """
        o, kinds = self.options, ["instance", "volume", "network-interface"]
        wanted = self._description(offer, subnet=offer.subnet.id)
        if self.user_data:
            wanted["UserData"] = self.user_data
        if offer.market == "spot":
            kinds.append("spot-instances-request")
            spot = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
            if o.max_price is not None:
                spot["MaxPrice"] = f"{o.max_price:f}"
            wanted["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": spot}
        return {
            **wanted,
            "InstanceType": offer.kind.name,
            "TagSpecifications": _tags.tag_specifications(self._tags_of(request), *kinds),
        }

    def template_request(self, offer: Offer, *, name: str) -> dict[str, Any]:
        """Return the parameters of CreateLaunchTemplate, for offers of this market and image."""
        # Not in a template for the other market: EC2 refuses tags for spot requests where there
        # are none.
        kinds = ["network-interface", *["spot-instances-request"] * (offer.market == "spot")]
        data = self._description(offer)
        data["TagSpecifications"] = _tags.tag_specifications(self.tags, *kinds)
        if self.user_data:
            data["UserData"] = base64.b64encode(self.user_data).decode()  # not done by botocore
        return {
            "LaunchTemplateName": name,
            "LaunchTemplateData": data,
            "TagSpecifications": _tags.tag_specifications(self.tags, "launch-template"),
        }

    def fleet_request(
        self, offers: Sequence[Offer], templates: Mapping[str, str], *, count: int, request: str
    ) -> dict[str, Any]:
        """Return the parameters of CreateFleet, for offers of one market.

        ``templates`` are the names of launch templates by image. ``request`` is the token by
        which what was made is found again.
        """
        market = offers[0].market
        configs = [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "1"},
                "Overrides": [
                    self._override(offer, priority)
                    for priority, offer in enumerate(offers)
                    if offer.image.id == image
                ],
            }
            for image, name in templates.items()
        ]
        if market == "spot":
            how = {
                "SpotOptions": {
                    "AllocationStrategy": "capacity-optimized-prioritized",
                    "InstanceInterruptionBehavior": "terminate",
                }
            }
        else:
            how = {"OnDemandOptions": {"AllocationStrategy": "prioritized"}}
        return {
            "Type": "instant",
            "LaunchTemplateConfigs": configs,
            "TargetCapacitySpecification": {
                "TotalTargetCapacity": count,
                "DefaultTargetCapacityType": market,
            },
            **how,
            "TagSpecifications": _tags.tag_specifications(
                self._tags_of(request), "fleet", "instance", "volume"
            ),
        }

    def _description(self, offer: Offer, *, subnet: str = "") -> dict[str, Any]:
        """Describe an instance, in words that RunInstances and launch templates share.

        It depends on the image of the offer alone.
        """
        o = self.options
        card: dict[str, Any] = {
            "DeviceIndex": 0,
            "AssociatePublicIpAddress": o.public_address,
            "DeleteOnTermination": True,
        }
        if subnet:
            card["SubnetId"] = subnet
        if self.groups:
            card["Groups"] = [*self.groups]
        wanted: dict[str, Any] = {
            "ImageId": offer.image.id,
            "InstanceInitiatedShutdownBehavior": "terminate",  # else a VM that powers off is kept
            "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
            "NetworkInterfaces": [card],
            "BlockDeviceMappings": block_devices(
                offer.image.root_device,
                disk=o.disk,
                data_disk=o.data_disk,
                data_volumes=o.data_volumes,
            ),
        }
        if o.instance_profile:
            key = "Arn" if o.instance_profile.startswith("arn:") else "Name"
            wanted["IamInstanceProfile"] = {key: o.instance_profile}
        if o.key_pair:
            wanted["KeyName"] = o.key_pair
        return wanted

    def _override(self, offer: Offer, priority: int) -> dict[str, Any]:
        override = {
            "InstanceType": offer.kind.name,
            "SubnetId": offer.subnet.id,
            "Priority": float(priority),  # "the lower the number, the higher the priority"
        }
        if offer.market == "spot" and self.options.max_price is not None:
            override["MaxPrice"] = f"{self.options.max_price:f}"
        return override

    def _tags_of(self, request: str) -> dict[str, str]:
        return {**self.tags, _tags.REQUEST: request} if request else {**self.tags}


@dataclass(frozen=True, slots=True)
class Bought:
    """What came of one purchase: instances, and which offers were refused, by what."""

    vms: Sequence[Vm]
    refusals: Sequence[tuple[Offer, AwsError]] = ()
    is_passing: bool = False
    """Whether the same purchase may well succeed a little later."""


class Way(Protocol):
    """A way to buy instances, of any of ``offers``, all of one market, up to ``most`` at once."""

    @property
    def offers(self) -> Sequence[Offer]: ...

    @property
    def most(self) -> int: ...

    async def buy(self, count: int, *, request: str) -> Bought:
        """Buy up to ``count`` instances. Raises `AwsError` where there are none for certain,
        or, if that `is_unknown`, perhaps some.

        ``request`` is a token of this purchase: it makes a repeated one the same purchase, and
        what was made is tagged by it. No checkpoint follows once there are instances.
        """
        ...
