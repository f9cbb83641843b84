"""What `setup` finds out with AWS, before anything is made: all that the options name is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bigmachine.boot import Driver
from bigmachine.errors import UsageError

from ._api import Api
from ._errors import AwsError
from ._image import find_images
from ._network import Network, addresses_inside, check_groups, find_network, own_addresses
from ._offers import Offer, by_fleet, is_for_fleet, offers
from ._options import Ec2Options
from ._order import Order
from ._quota import Quota, check_quotas, find_quotas
from ._routes import within_reach
from ._tags import session_tags, tag_specifications
from ._types import InstanceType, find_types

_REHEARSAL = "bigmachine-rehearsal"


@dataclass(frozen=True, slots=True)
class Plan:
    """The network, what can be bought in it, in order, and who may come in, as CIDR blocks.

    ``quotas`` are those of the offers, by code, as far as they are known.
    """

    network: Network
    offers: tuple[Offer, ...]
    allow: tuple[str, ...]
    quotas: Mapping[str, Quota]


async def make_plan(api: Api, o: Ec2Options, *, look_up: str) -> Plan:
    """Look up all that the options name.

    ``look_up`` is the URL of a service that tells this computer's public address. Raises
    `UsageError`, by the name of the option, for what is not there or does not fit; `StartError`
    where the account's quota has no room for a single machine; and `AwsError`.
    """
    types = await find_types(api, o.instance_types)
    network = await find_network(api, subnets=o.subnets)
    if o.public_address and not addresses_inside(network):
        network = await within_reach(api, network, is_named=bool(o.subnets))
    await check_groups(api, network, groups=o.security_groups)
    await _check_key_pair(api, o.key_pair)
    for kind in types:
        _check_sold(kind, o, network)
    images = await find_images(api, image=o.image, disk=o.disk, types=types)
    allow = [*o.allow]
    if not allow and not o.security_groups:
        allow = await own_addresses(network, is_public=o.public_address, look_up=look_up)
    offered = tuple(offers(o, types, images, network.subnets))
    quotas = await find_quotas(api, offered)
    check_quotas(offered, quotas, region=api.region)
    return Plan(network, offered, tuple(allow), quotas)


async def rehearse(api: Api, o: Ec2Options, plan: Plan) -> None:
    """Have AWS check the requests that `start` is going to make, by dry runs. Raises `AwsError`."""
    tags = session_tags("rehearsal", Driver.here(), o.own_tags)
    if not o.security_groups:
        await api.would_be_allowed(
            "ec2:CreateSecurityGroup",
            GroupName=_REHEARSAL,
            Description="never made",
            VpcId=plan.network.vpc,
            TagSpecifications=tag_specifications(tags, "security-group"),
        )
    order = Order(o, tags=tags, groups=o.security_groups)
    for offer in {offer.market: offer for offer in reversed(plan.offers)}.values():
        request = order.run_request(offer)
        try:
            await api.would_be_allowed("ec2:RunInstances", MinCount=1, MaxCount=1, **request)
        except AwsError as error:
            if not (error.is_capacity or error.is_quota):  # other offers may be had
                raise
    for of in by_fleet(plan.offers):
        if is_for_fleet(of):
            await _rehearse_fleet(api, order, of)
            return


async def _rehearse_fleet(api: Api, order: Order, of: Sequence[Offer]) -> None:
    template = order.template_request(of[0], name=_REHEARSAL)
    await api.would_be_allowed("ec2:CreateLaunchTemplate", **template)
    templates = {offer.image.id: _REHEARSAL for offer in of}
    fleet = order.fleet_request(of, templates, count=1, request="")
    try:
        await api.would_be_allowed("ec2:CreateFleet", **fleet)
    except AwsError as error:
        # The template is not there, of course; whether a fleet is right, RunInstances has told.
        if error.is_forbidden:
            raise


def _check_sold(kind: InstanceType, o: Ec2Options, network: Network) -> None:
    zones = {subnet.zone for subnet in network.subnets}
    if not kind.zones & zones:
        raise UsageError(
            f"instance_type: {kind.name} is not offered in {', '.join(sorted(zones))}, where the "
            f"subnets are, but in {', '.join(sorted(kind.zones))}: name a subnet there, or "
            f"another type"
        )
    if not kind.markets & {*o.markets}:
        raise UsageError(
            f"market: {kind.name} is not sold as {' or '.join(o.markets)}, but as "
            f"{' or '.join(sorted(kind.markets))}: choose another market or type"
        )


async def _check_key_pair(api: Api, key_pair: str) -> None:
    if not key_pair:
        return
    reply = await api.read(
        "ec2:DescribeKeyPairs", Filters=[{"Name": "key-name", "Values": [key_pair]}]
    )
    if not reply["KeyPairs"]:
        raise UsageError(
            f"key_pair: there is no {key_pair!r} in {api.region}; those that there are: "
            f"`aws ec2 describe-key-pairs --region {api.region}`"
        )
