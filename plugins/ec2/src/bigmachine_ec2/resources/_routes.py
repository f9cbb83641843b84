"""Which subnets are public, by their route tables."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import AwsError
from ._network import Network, Subnet

logger = logging.getLogger("bigmachine.ec2")

_ALL = "0.0.0.0/0"
_INSTEAD = "or pass public_address=False on a computer that can reach the VPC's private addresses"


async def keep_public_subnets(api: Api, network: Network, *, is_named: bool) -> Network:
    """Return the network without its private subnets.

    Raises `UsageError` if the user named a private subnet, or if no public one is left.
    """
    network = _keep_unblocked(network, is_named=is_named)
    public = await _public(api, network)
    private = [subnet.id for subnet in network.subnets if subnet not in public]
    if private and is_named:
        raise UsageError(
            f"subnets: {', '.join(private)}: no route to an internet gateway, so public addresses "
            f"don't work there: name public subnets, {_INSTEAD}"
        )
    if not public:
        raise UsageError(
            f"subnets: those of the default VPC of {api.region} have no route to an internet "
            f"gateway, so public addresses don't work there: add a route, name public subnets, "
            f"{_INSTEAD}"
        )
    return dataclasses.replace(network, subnets=tuple(public))


def _keep_unblocked(network: Network, *, is_named: bool) -> Network:
    """Return the network without the subnets that VPC Block Public Access applies to.

    It refuses no request: packets are dropped, and a machine would never be reached ("Block public
    access to VPCs and subnets", and aws-samples/eks-workshop-v2 issue 1928).
    """
    blocked = [subnet.id for subnet in network.subnets if subnet.is_blocked]
    if blocked and (is_named or len(blocked) == len(network.subnets)):
        raise UsageError(
            f"subnets: {', '.join(blocked)}: the account's VPC Block Public Access keeps the "
            f"internet out, so public addresses don't work there: have an administrator exclude "
            f"them, name other subnets, {_INSTEAD}"
        )
    kept = tuple(subnet for subnet in network.subnets if not subnet.is_blocked)
    return dataclasses.replace(network, subnets=kept)


async def _public(api: Api, network: Network) -> Sequence[Subnet]:
    """List the subnets, without those that are known to be private."""
    try:
        tables = await api.read_all(
            "ec2:DescribeRouteTables",
            "RouteTables",
            Filters=[{"Name": "vpc-id", "Values": [network.vpc]}],
        )
    except AwsError as error:
        if not error.is_denied:
            raise
        logger.debug("the route tables of %s can't be read: %s", network.vpc, error)
        return network.subnets
    main: Sequence[Mapping[str, Any]] | None = None
    explicit: dict[str, Sequence[Mapping[str, Any]]] = {}
    for table in tables:
        for association in table["Associations"]:
            if association.get("Main"):
                main = table["Routes"]
            elif "SubnetId" in association:
                explicit[association["SubnetId"]] = table["Routes"]
    # "Otherwise, the subnet is implicitly associated with the main route table" ("Subnet route
    # tables"); in a shared VPC only the owner may see it.
    routes_of = {subnet: explicit.get(subnet.id, main) for subnet in network.subnets}
    return [subnet for subnet, routes in routes_of.items() if routes is None or _leads_out(routes)]


def _leads_out(routes: Iterable[Mapping[str, Any]]) -> bool:
    """Whether packets can leave to the internet.

    By an internet gateway; or by a firewall's endpoint or network interface on the way to one.
    """
    for route in routes:
        target = route.get("GatewayId", "") or route.get("NetworkInterfaceId", "")
        is_all = route.get("DestinationCidrBlock") == _ALL
        if target.startswith("igw-") or (is_all and target.startswith(("vpce-", "eni-"))):
            return True
    return False
