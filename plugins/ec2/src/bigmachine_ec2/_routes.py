"""Into which subnets a public address leads: what their route tables say."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bigmachine.errors import UsageError

from ._api import Api
from ._errors import AwsError
from ._network import Network, Subnet

logger = logging.getLogger("bigmachine.ec2")

_ALL = "0.0.0.0/0"
_INSTEAD = (
    "or pass public_address=False, on a computer that has a way to the VPC's private addresses"
)


async def within_reach(api: Api, network: Network, *, is_named: bool) -> Network:
    """Return the network, less the subnets where a public address is of no use.

    Raises `UsageError` if the user named one of these, or if no other is left.
    """
    public = await _public(api, network)
    private = [subnet.id for subnet in network.subnets if subnet not in public]
    if private and is_named:
        raise UsageError(
            f"subnets: no public address leads into {', '.join(private)}, for no route leads from "
            f"there to an internet gateway: name public subnets, {_INSTEAD}"
        )
    if not public:
        raise UsageError(
            f"subnets: no public address leads into those of the default VPC of {api.region}, for "
            f"no route leads from there to an internet gateway: give them one, name public "
            f"subnets, {_INSTEAD}"
        )
    return dataclasses.replace(network, subnets=tuple(public))


async def _public(api: Api, network: Network) -> Sequence[Subnet]:
    """List the subnets that are not known to be private."""
    try:
        tables = await api.read_all(
            "ec2:DescribeRouteTables",
            "RouteTables",
            Filters=[{"Name": "vpc-id", "Values": [network.vpc]}],
        )
    except AwsError as error:
        if not error.is_denied:
            raise
        logger.debug("the routes of %s are not to be had: %s", network.vpc, error)
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
    # tables"); that of a VPC which is shared may be its owner's to see.
    of = {subnet: explicit.get(subnet.id, main) for subnet in network.subnets}
    return [subnet for subnet, routes in of.items() if routes is None or _leads_out(routes)]


def _leads_out(routes: Iterable[Mapping[str, Any]]) -> bool:
    """Whether answers to the internet may leave as they came in.

    By an internet gateway; or by a firewall's endpoint or network interface on the way to one.
    """
    for route in routes:
        target = route.get("GatewayId", "") or route.get("NetworkInterfaceId", "")
        is_all = route.get("DestinationCidrBlock") == _ALL
        if target.startswith("igw-") or (is_all and target.startswith(("vpce-", "eni-"))):
            return True
    return False
