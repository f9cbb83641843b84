"""What instances are launched with, and the launch requests that follow from it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..options import _tags
from ..options._options import Ec2Options
from ..plan._offers import Offer
from ._block_devices import block_devices


@dataclass(frozen=True, slots=True)
class LaunchSpecification:
    """What all instances of one start have in common; its methods return request parameters."""

    options: Ec2Options
    tags: Mapping[str, str]
    groups: Sequence[str]
    user_data: bytes = b""

    def run_instances_request(self, offer: Offer, *, token: str = "") -> dict[str, Any]:
        """Return the parameters of RunInstances, without the count.

        The instances are tagged with ``token``, to be found again.
        """
        o, kinds = self.options, ["instance", "volume", "network-interface"]
        parameters = self._shared_parameters(offer, subnet=offer.subnet.id)
        if self.user_data:
            parameters["UserData"] = self.user_data
        if offer.market == "spot":
            kinds.append("spot-instances-request")
            spot = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
            if o.max_price is not None:
                spot["MaxPrice"] = f"{o.max_price:f}"
            parameters["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": spot}
        return {
            **parameters,
            "InstanceType": offer.instance_type.name,
            "TagSpecifications": _tags.tag_specifications(self._tags_of(token), *kinds),
        }

    def launch_template_request(self, offer: Offer, *, name: str) -> dict[str, Any]:
        """Return the parameters of CreateLaunchTemplate, for offers of this market and image."""
        # EC2 refuses tags for spot requests in an on-demand template.
        kinds = ["network-interface", *["spot-instances-request"] * (offer.market == "spot")]
        data = self._shared_parameters(offer)
        data["TagSpecifications"] = _tags.tag_specifications(self.tags, *kinds)
        if self.user_data:
            data["UserData"] = base64.b64encode(self.user_data).decode()  # not done by botocore
        return {
            "LaunchTemplateName": name,
            "LaunchTemplateData": data,
            "TagSpecifications": _tags.tag_specifications(self.tags, "launch-template"),
        }

    def create_fleet_request(
        self, offers: Sequence[Offer], templates: Mapping[str, str], *, count: int, token: str
    ) -> dict[str, Any]:
        """Return the parameters of CreateFleet, for offers of one market.

        ``templates`` are the names of launch templates, by image. The instances are tagged with
        ``token``, to be found again.
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
            strategy = {
                "SpotOptions": {
                    "AllocationStrategy": "capacity-optimized-prioritized",
                    "InstanceInterruptionBehavior": "terminate",
                }
            }
        else:
            strategy = {"OnDemandOptions": {"AllocationStrategy": "prioritized"}}
        return {
            "Type": "instant",
            "LaunchTemplateConfigs": configs,
            "TargetCapacitySpecification": {
                "TotalTargetCapacity": count,
                "DefaultTargetCapacityType": market,
            },
            **strategy,
            "TagSpecifications": _tags.tag_specifications(
                self._tags_of(token), "fleet", "instance", "volume"
            ),
        }

    def _shared_parameters(self, offer: Offer, *, subnet: str = "") -> dict[str, Any]:
        """Return the parameters that RunInstances and launch templates share.

        Of the offer, they depend on the image alone.
        """
        o = self.options
        interface: dict[str, Any] = {
            "DeviceIndex": 0,
            "AssociatePublicIpAddress": o.public_address,
            "DeleteOnTermination": True,
        }
        if subnet:
            interface["SubnetId"] = subnet
        if self.groups:
            interface["Groups"] = [*self.groups]
        parameters: dict[str, Any] = {
            "ImageId": offer.image.id,
            "InstanceInitiatedShutdownBehavior": "terminate",  # not "stop"
            "MetadataOptions": {
                "HttpTokens": "required",
                "HttpEndpoint": "enabled",
                # By default that of the account; if it is enabled, EC2 refuses tags whose keys
                # have a space or a slash (karpenter-provider-aws, pull request 7012).
                "InstanceMetadataTags": "disabled",
            },
            "NetworkInterfaces": [interface],
            "BlockDeviceMappings": block_devices(offer.image, o),
        }
        if o.placement_group:
            parameters["Placement"] = {"GroupName": o.placement_group}
        if o.instance_profile:
            key = "Arn" if o.instance_profile.startswith("arn:") else "Name"
            parameters["IamInstanceProfile"] = {key: o.instance_profile}
        if o.key_pair:
            parameters["KeyName"] = o.key_pair
        return parameters

    def _override(self, offer: Offer, priority: int) -> dict[str, Any]:
        override = {
            "InstanceType": offer.instance_type.name,
            "SubnetId": offer.subnet.id,
            "Priority": float(priority),  # "the lower the number, the higher the priority"
        }
        if offer.market == "spot" and self.options.max_price is not None:
            override["MaxPrice"] = f"{self.options.max_price:f}"
        return override

    def _tags_of(self, token: str) -> dict[str, str]:
        return {**self.tags, _tags.REQUEST: token} if token else {**self.tags}
