"""What `setup` validates with AWS before anything is created: all that the options name exists."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bigmachine.errors import UsageError
from bigmachine.system import addresses_inside, driver_addresses

from ..api._api import Api
from ..catalog._images import Image, find_images
from ..catalog._instance_types import InstanceType, find_types
from ..options._options import Ec2Options
from ..options._volumes import data_names
from ..resources._network import Network, check_free_addresses, find_network
from ..resources._routes import keep_public_subnets
from ..resources._security_group import check_groups
from ._kms_key import check_kms_key
from ._offers import Offer, list_offers
from ._placement_group import check_placement_group
from ._quota import Quota, check_quotas, find_quotas

logger = logging.getLogger("bigmachine.ec2")


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """The network, the offers in it, in order, and the CIDR blocks that may connect.

    ``quotas`` are those of the offers, by code, as far as they are known.
    """

    network: Network
    offers: tuple[Offer, ...]
    allow: tuple[str, ...]
    quotas: Mapping[str, Quota]


async def make_launch_plan(api: Api, o: Ec2Options, *, address_service_url: str) -> LaunchPlan:
    """Look up all that the options name.

    ``address_service_url`` is a service that returns this computer's public address. Raises
    `UsageError`, with the option's name, for what does not exist or does not fit; `StartError`
    if the account's quota does not allow a single machine; and `AwsError`.
    """
    network = await find_network(api, subnets=o.subnets)
    if o.public_address and not addresses_inside(network.blocks):
        network = await keep_public_subnets(api, network, is_named=bool(o.subnets))
    check_free_addresses(network)
    zones = {subnet.zone for subnet in network.subnets}
    types = await find_types(api, o.instance_types, zones=zones, markets=o.markets)
    _check_local_disks(types, o)
    await check_groups(api, network, groups=o.security_groups)
    await check_placement_group(api, o.placement_group, types=types, network=network)
    await _check_key_pair(api, o.key_pair)
    await check_kms_key(api, o.kms_key)
    for instance_type in types:
        _check_offered(instance_type, o, network)
    images = await find_images(api, image=o.image, disk=o.disk, types=types)
    _check_data_disk(images.values(), o)
    allow = [*o.allow]
    if not allow and not o.security_groups:
        allow = await driver_addresses(
            network.blocks, is_public=o.public_address, address_service_url=address_service_url
        )
    offers = tuple(list_offers(o, types, images, network))
    quotas = await find_quotas(api, offers)
    offers = check_quotas(offers, quotas, region=api.region)
    return LaunchPlan(network, offers, tuple(allow), quotas)


def _check_local_disks(types: Sequence[InstanceType], o: Ec2Options) -> None:
    lacking = [each.name for each in types if not each.local_nvme_gb]
    if o.local_disks and lacking:
        raise UsageError(
            f"local_disks: {', '.join(lacking)} has no local NVMe disk: name types that have, like "
            f"'m6id.large' or 'i4i.large'; list all with `aws ec2 describe-instance-types "
            f"--filters Name=instance-storage-info.nvme-support,Values=required`"
        )


def _check_data_disk(images: Iterable[Image], o: Ec2Options) -> None:
    names = {*data_names(o.data_volumes)} if o.data_disk else set()
    for image in images:
        # Xen's driver calls /dev/sdf xvdf, and EC2 takes both names.
        taken = {re.sub("^/dev/xvd", "/dev/sd", name) for name, _ in image.more_disks} & names
        if taken:
            raise UsageError(
                f"data_disk: {image.id} ({image.name}) has disks of its own at "
                f"{', '.join(sorted(taken))}, where the volumes would be: use fewer data_volumes, "
                f"or an image without these disks"
            )


def _check_offered(instance_type: InstanceType, o: Ec2Options, network: Network) -> None:
    zones = {subnet.zone for subnet in network.subnets}
    if not instance_type.zones & zones:
        raise UsageError(
            f"instance_type: {instance_type.name} is not offered in {', '.join(sorted(zones))}, "
            f"where the subnets are, but in {', '.join(sorted(instance_type.zones))}: name a "
            f"subnet there, or another type"
        )
    if not instance_type.markets & {*o.markets}:
        raise UsageError(
            f"market: {instance_type.name} is not offered as {' or '.join(o.markets)}, but as "
            f"{' or '.join(sorted(instance_type.markets))}: choose another market or type"
        )


async def _check_key_pair(api: Api, key_pair: str) -> None:
    if not key_pair:
        return
    reply = await api.read(
        "ec2:DescribeKeyPairs", Filters=[{"Name": "key-name", "Values": [key_pair]}]
    )
    if not reply["KeyPairs"]:
        raise UsageError(
            f"key_pair: there is no {key_pair!r} in {api.region}; list all with "
            f"`aws ec2 describe-key-pairs --region {api.region}`"
        )
