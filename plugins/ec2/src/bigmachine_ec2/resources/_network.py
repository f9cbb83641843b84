"""The network that instances are in: a VPC, and its subnets."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.errors import StartError, UsageError

from ..api._api import Api
from ..catalog._instance_types import is_in_region

logger = logging.getLogger("bigmachine.ec2")

_LARGEST_SUBNET = 1 << 16  # addresses


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet, and its availability zone.

    ``is_blocked`` is whether the account's VPC Block Public Access keeps the internet out, and
    ``free_addresses`` how many more instances have room there.
    """

    id: str
    zone: str
    is_blocked: bool = False
    free_addresses: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """A VPC, its CIDR blocks, and those of its subnets that may be used.

    ``is_dedicated`` is whether its instances have hardware of their own.
    """

    vpc: str
    blocks: tuple[str, ...]
    subnets: tuple[Subnet, ...]
    is_dedicated: bool = False


async def find_network(api: Api, *, subnets: Sequence[str]) -> Network:
    """Return these subnets, in this order, with their VPC; by default all of the default VPC.

    Raises `UsageError` if there are none, or if they are in several VPCs.
    """
    if subnets:
        raws = {
            raw["SubnetId"]: raw
            for raw in await api.read_all(
                "ec2:DescribeSubnets",
                "Subnets",
                Filters=[{"Name": "subnet-id", "Values": [*subnets]}],
            )
        }
        if missing := [id for id in subnets if id not in raws]:
            raise UsageError(
                f"subnets: {', '.join(missing)}: not in {api.region}, or not this account's; "
                f"list all with `aws ec2 describe-subnets --region {api.region}`"
            )
        if without := [id for id in subnets if raws[id].get("Ipv6Native")]:
            raise UsageError(
                f"subnets: {', '.join(without)}: IPv6 only, and machines need IPv4 addresses: name "
                f"others"
            )
        chosen = [raws[id] for id in subnets]
    else:
        vpcs = await api.read_all(
            "ec2:DescribeVpcs", "Vpcs", Filters=[{"Name": "is-default", "Values": ["true"]}]
        )
        if not vpcs:
            raise UsageError(
                f"subnets: there is no default VPC in {api.region}: name subnets of another VPC, "
                f"or create one (`aws ec2 create-default-vpc --region {api.region}`)"
            )
        found = await api.read_all(
            "ec2:DescribeSubnets",
            "Subnets",
            Filters=[{"Name": "vpc-id", "Values": [vpcs[0]["VpcId"]]}],
        )
        # Outposts have no gp3 disks (terraform-aws-modules/terraform-aws-eks, issue 1308).
        found = [raw for raw in found if not (raw.get("Ipv6Native") or raw.get("OutpostArn"))]
        # Nor have many Local Zones (awslabs/amazon-eks-ami, pull request 1295), which cost more.
        found = [raw for raw in found if is_in_region(raw["AvailabilityZone"], api.region)]
        if not found:
            raise UsageError(
                f"subnets: the default VPC of {api.region} has none: name others, or create one "
                f"(`aws ec2 create-default-subnet --availability-zone {api.region}a`)"
            )
        chosen = sorted(found, key=lambda raw: str(raw["AvailabilityZone"]))
    ids = {raw["VpcId"] for raw in chosen}
    if len(ids) > 1:
        listed = ", ".join(f"{raw['SubnetId']} is in {raw['VpcId']}" for raw in chosen)
        raise UsageError(f"subnets: must be in one VPC: {listed}; name those of one VPC")
    [vpc] = ids
    [raw] = await api.read_all(
        "ec2:DescribeVpcs", "Vpcs", Filters=[{"Name": "vpc-id", "Values": [vpc]}]
    )
    blocks = [block["CidrBlock"] for block in raw.get("CidrBlockAssociationSet", ())]
    return Network(
        vpc=vpc,
        blocks=tuple(blocks or [raw["CidrBlock"]]),
        subnets=tuple(
            Subnet(
                raw["SubnetId"],
                raw["AvailabilityZone"],
                is_blocked=_is_blocked(raw),
                free_addresses=raw.get("AvailableIpAddressCount", _LARGEST_SUBNET),
            )
            for raw in chosen
        ),
        is_dedicated=raw.get("InstanceTenancy") == "dedicated",
    )


def check_free_addresses(network: Network) -> None:
    """Raise `StartError` if no subnet has room for an instance.

    EC2 would say so at the launch, by InsufficientFreeAddressesInSubnet.
    """
    if not any(subnet.free_addresses for subnet in network.subnets):
        raise StartError(
            f"subnets: no private address is free in {_listed(network)}: end instances there, or "
            f"name other or larger subnets"
        )


def warn_of_free_addresses(network: Network, *, count: int) -> None:
    """Log a warning if the subnets had room for fewer machines, when the session opened."""
    free = sum(subnet.free_addresses for subnet in network.subnets)
    if count > free:
        logger.warning(
            "%d machines are more than the subnets have room for: %d private addresses were free "
            "in %s when the session opened",
            count,
            free,
            _listed(network),
        )


def _listed(network: Network) -> str:
    return ", ".join(subnet.id for subnet in network.subnets)


def _is_blocked(raw: Mapping[str, Any]) -> bool:
    """Whether a response of DescribeSubnets says so of a subnet; exclusions are considered."""
    states = raw.get("BlockPublicAccessStates") or {}
    return str(states.get("InternetGatewayBlockMode", "off")) != "off"
