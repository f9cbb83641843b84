"""The network that instances are in, and who may connect to them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from bigmachine.boot import PORT
from bigmachine.errors import StartError, UsageError

from ._api import Api
from ._backoff import backoff
from ._errors import AwsError
from ._tags import tag_specifications

_LOOK_UP_TIMEOUT = 15.0
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet, and its availability zone.

    ``is_blocked`` is whether the account's VPC Block Public Access keeps the internet out.
    """

    id: str
    zone: str
    is_blocked: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """A VPC, its CIDR blocks, and those of its subnets that may be used."""

    vpc: str
    blocks: tuple[str, ...]
    subnets: tuple[Subnet, ...]


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
            Subnet(raw["SubnetId"], raw["AvailabilityZone"], is_blocked=_is_blocked(raw))
            for raw in chosen
        ),
    )


def _is_blocked(raw: Mapping[str, Any]) -> bool:
    """Whether a response of DescribeSubnets says so of a subnet; exclusions are considered."""
    states = raw.get("BlockPublicAccessStates") or {}
    return str(states.get("InternetGatewayBlockMode", "off")) != "off"


async def check_groups(api: Api, network: Network, *, groups: Sequence[str]) -> None:
    """Raise `UsageError` unless all of these security groups are in the network's VPC."""
    if not groups:
        return
    raws = await api.read_all(
        "ec2:DescribeSecurityGroups",
        "SecurityGroups",
        Filters=[{"Name": "group-id", "Values": [*groups]}],
    )
    vpcs = {raw["GroupId"]: raw["VpcId"] for raw in raws}
    if missing := [id for id in groups if id not in vpcs]:
        raise UsageError(
            f"security_groups: {', '.join(missing)}: not in {api.region}, or not this account's; "
            f"list all with `aws ec2 describe-security-groups --region {api.region}`"
        )
    if foreign := [id for id in groups if vpcs[id] != network.vpc]:
        raise UsageError(
            f"security_groups: {', '.join(f'{id} is in {vpcs[id]}' for id in foreign)}, but the "
            f"subnets are in {network.vpc}: name groups of that VPC, or none"
        )


async def driver_addresses(
    network: Network, *, is_public: bool, address_service_url: str
) -> list[str]:
    """Return this computer's addresses as instances see them, as CIDR blocks.

    For private addresses of instances: the source address of packets to the VPC. For public
    ones: the address that the service at ``address_service_url`` sees; and, within the VPC, also
    the private one, because there an instance's public name resolves to its private address.

    Raises `StartError` if the service can't be reached.
    """
    if not is_public:
        private = [own for own in map(_source_address, network.blocks) if own]
        if private:
            return [f"{own}/32" for own in dict.fromkeys(private)]
        raise UsageError(
            f"public_address: this computer has no route to the VPC's private addresses "
            f"({', '.join(network.blocks)}): use public ones, or set `allow` to the CIDR blocks "
            f"that may connect"
        )
    own = [await _public_address(address_service_url), *addresses_inside(network)]
    return [f"{address}/32" for address in dict.fromkeys(own)]


def addresses_inside(network: Network) -> list[str]:
    """Return this computer's own addresses in the network's VPC: none if it is outside."""
    blocks = [ipaddress.ip_network(block) for block in network.blocks]
    own = [address for address in map(_source_address, network.blocks) if address]
    return [a for a in own if any(ipaddress.ip_address(a) in block for block in blocks)]


class SessionSecurityGroup:
    """The session's security group: one port, open to the driver and the session's machines."""

    def __init__(self, api: Api, *, session: str, vpc: str) -> None:
        self.id = ""
        self._api = api
        self._name = f"bigmachine-{session}"
        self._vpc = vpc
        self._lock = trio.Lock()
        self._is_open = False

    async def open(self, *, allow: Sequence[str], tags: Mapping[str, str]) -> str:
        """Create the group, unless it exists, and return its id. Raises `AwsError`."""
        async with self._lock:
            if self.id and not self._api.is_new(self.id):
                await self._check_exists()
            if not self.id:
                self.id = await self._create(tags)
                self._api.note_new(self.id)
            if not self._is_open:
                await self._allow(allow)
                self._is_open = True
        return self.id

    async def _check_exists(self) -> None:
        """Forget the group if it was deleted: it may have been reaped between two starts."""
        filters = [{"Name": "group-id", "Values": [self.id]}]
        if await self._api.read_all(
            "ec2:DescribeSecurityGroups", "SecurityGroups", Filters=filters
        ):
            self._api.note_new(self.id)
        else:
            self.id, self._is_open = "", False

    async def _create(self, tags: Mapping[str, str]) -> str:
        try:
            reply = await self._api.write(
                "ec2:CreateSecurityGroup",
                GroupName=self._name,
                Description="Machines of a bigmachine session; deleted with them",
                VpcId=self._vpc,
                TagSpecifications=tag_specifications(tags, "security-group"),
            )
            return str(reply["GroupId"])
        except AwsError as error:
            # Session names are unique, so an earlier attempt created it, and its response was lost.
            if not (error.is_outcome_unknown or error.code == "InvalidGroup.Duplicate"):
                raise
            failure = error
        filters = [
            {"Name": "group-name", "Values": [self._name]},
            {"Name": "vpc-id", "Values": [self._vpc]},
        ]
        with trio.CancelScope(shield=True):
            for delay in backoff(_ATTEMPTS):
                found = await self._api.read_all(
                    "ec2:DescribeSecurityGroups", "SecurityGroups", Filters=filters
                )
                if found:
                    return str(found[0]["GroupId"])
                await trio.sleep(delay)  # it is new
        raise failure

    async def _allow(self, allow: Sequence[str]) -> None:
        port = {"IpProtocol": "tcp", "FromPort": PORT, "ToPort": PORT}
        ranges = [{"CidrIp": block, "Description": "the driver"} for block in allow]
        try:
            await self._api.write(
                "ec2:AuthorizeSecurityGroupIngress",
                GroupId=self.id,
                IpPermissions=[
                    {**port, "IpRanges": ranges},
                    {**port, "UserIdGroupPairs": [{"GroupId": self.id}]},
                ],
            )
        except AwsError as error:
            if error.code != "InvalidPermission.Duplicate":  # a response was lost
                raise


def _source_address(block: str) -> str | None:
    """Return the source address of packets to ``block``; None without a route to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(ipaddress.ip_network(block)[1]), PORT))  # it sends nothing
        except OSError:
            return None
        return str(probe.getsockname()[0])


async def _public_address(address_service_url: str) -> str:
    import httpx

    try:
        # Not through a proxy, whose address it would be: machines are reached directly. And not
        # through a client, which logs each request in the user's log.
        async with httpx.AsyncHTTPTransport(trust_env=False) as transport:
            timeout = httpx.Timeout(_LOOK_UP_TIMEOUT).as_dict()
            request = httpx.Request("GET", address_service_url, extensions={"timeout": timeout})
            reply = await transport.handle_async_request(request)
            reply.request = request
            await reply.aread()
            reply.raise_for_status()
            return str(ipaddress.IPv4Address(reply.text.strip()))
    except (httpx.HTTPError, ValueError) as exc:
        raise StartError(
            f"{address_service_url} did not return this computer's public address ({exc!r}): set "
            f"`allow` to the CIDR blocks that may connect, like allow=['203.0.113.7/32']"
        ) from exc
