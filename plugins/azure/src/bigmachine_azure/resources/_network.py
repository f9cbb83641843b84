"""The network that VMs are in: a virtual network, and its subnet."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.errors import StartError, UsageError
from bigmachine.system import addresses_inside

from ..api._api import Api
from ..api._errors import AzureError
from ..api._place import Place
from ..options._option_formats import last_part, location_name
from ..options._options import AzureOptions

OWN_NETWORK, OWN_SUBNET = "bigmachine", "machines"
"""The network that is created if no option names one, and its subnet."""
# For that network. Peered networks must not overlap, so it is none that others begin with.
_OWN_BLOCKS = ("10.77.0.0/16", "172.27.0.0/16", "10.177.0.0/16")
_SMALLEST_PREFIX = 29  # of a subnet ("Azure Virtual Network FAQ")


@dataclass(frozen=True, slots=True)
class Network:
    """A virtual network, and its subnet for the VMs: their IDs.

    ``blocks`` are the network's CIDR blocks, and ``subnet_blocks`` those of the subnet.
    ``is_missing`` is whether the network is to be created first, bigmachine's own; ``has_subnet``
    is False if its subnet is. ``free_addresses`` is how many more VMs have room; None if unknown.
    """

    id: str
    subnet: str
    blocks: tuple[str, ...]
    subnet_blocks: tuple[str, ...]
    is_missing: bool = False
    has_subnet: bool = True
    free_addresses: int | None = None
    security_group: str = ""
    """The ID of the subnet's own network security group; "" for none."""
    has_way_out: bool = True
    """Whether VMs without public addresses reach the internet, as far as is known."""

    @property
    def name(self) -> str:
        """Its name, without its resource group."""
        return last_part(self.id)

    @property
    def group(self) -> str:
        """Its resource group."""
        return self.id.split("/")[4]

    def check_room(self) -> None:
        """Raise `StartError` if no private address is free: Azure would say so at the launch."""
        if self.free_addresses == 0:
            raise StartError(
                f"subnet: no private address is free in {last_part(self.subnet)} of {self.name}: "
                f"delete VMs there, or name another or a larger subnet"
            )

    def check_way_out(self, o: AzureOptions) -> None:
        """Raise `UsageError` if VMs could not delete themselves, for want of a way to Azure.

        New subnets are private: without a public address, a NAT gateway or a route, nothing
        leaves them ("Default outbound access in Azure"), also not the request by which a machine
        whose driver is dead deletes its VM.
        """
        if o.public_address or self.has_way_out or o.allow_billing_leak:
            return
        raise UsageError(
            f"public_address: nothing in the subnet {last_part(self.subnet)} reaches the internet, "
            f"so a machine whose driver is dead can't delete its VM, which is billed until "
            f"somebody does: give the subnet a NAT gateway (`az network vnet subnet update --ids "
            f"{self.subnet} --nat-gateway NAME`), use public addresses, or pass "
            f"allow_billing_leak=True"
        )


async def find_network(api: Api, o: AzureOptions, place: Place) -> Network:
    """Return the network and the subnet that these options name, or bigmachine's own.

    Raises `UsageError` if there are none, or if they are elsewhere; `AzureError`.
    """
    if not o.network:
        return await _find_own(api, o, place)
    group, name = split_id(api, o.network, option="network")
    raw = await _read(api, group, name)
    if raw is None:
        raise UsageError(
            f"network: there is no virtual network {name!r} in the resource group {group}: list "
            f"all with `az network vnet list --subscription {api.subscription} --output table`, or "
            f"omit it"
        )
    _check_place(raw, place, option="network")
    return await _with_room(api, _network_from(raw, _choose_subnet(raw, o.subnet)))


async def find_security_group(api: Api, o: AzureOptions, place: Place) -> str:
    """Return the ID of the security group that the options name; "" for none.

    Raises `UsageError` if there is none, or if it is elsewhere; `AzureError`.
    """
    if not o.security_group:
        return ""
    group, name = split_id(api, o.security_group, option="security_group")
    try:
        raw = await api.read(
            "network_security_groups.get",
            resource_group_name=group,
            network_security_group_name=name,
        )
    except AzureError as error:
        if not error.is_not_found:
            raise
        raise UsageError(
            f"security_group: there is no network security group {name!r} in the resource group "
            f"{group}: list all with `az network nsg list --subscription {api.subscription} "
            f"--output table`, or omit it"
        ) from error
    _check_place(raw, place, option="security_group")
    return str(raw["id"])


def split_id(api: Api, given: str, *, option: str) -> tuple[str, str]:
    """Return the resource group and the name of a resource, given by its name or its ID.

    Raises `UsageError` for one of another subscription: "The resources must be in the same
    subscription as the network interface" ("Virtual networks and virtual machines in Azure").
    """
    if not given.startswith("/"):
        return api.resource_group, given
    _, _, subscription, _, group, _, _, _, name = given.split("/")
    if subscription.lower() != api.subscription.lower():
        raise UsageError(
            f"{option}: {given} is in another subscription than the VMs ({api.subscription}), and "
            f"Azure wants it in theirs: name one there, or pass subscription={subscription!r}"
        )
    return group, name


async def _find_own(api: Api, o: AzureOptions, place: Place) -> Network:
    """Return bigmachine's own network in the resource group, which may have to be created.

    In a group for several locations, its name may be taken by the one elsewhere.
    """
    raw: dict[str, Any] | None = None
    for name in (OWN_NETWORK, f"{OWN_NETWORK}-{place.location}"):
        raw = await _read(api, api.resource_group, name) if place.has_group else None
        if raw is None:
            id = f"{api.group_id()}/providers/Microsoft.Network/virtualNetworks/{name}"
            block = _own_block()
            return _new_network(id, o, blocks=(block,), subnet_block=block, is_missing=True)
        if location_name(raw.get("location") or "") == place.location:
            break
    assert raw is not None
    _check_place(raw, place, option="network")
    if o.subnet or any(each["name"] == OWN_SUBNET for each in _subnets(raw)):
        subnet = _choose_subnet(raw, o.subnet or OWN_SUBNET)
        return await _with_room(api, _network_from(raw, subnet))
    return _new_network(
        raw["id"], o, blocks=_blocks(raw), subnet_block=_free_block(raw), is_missing=False
    )


def _new_network(
    id: str, o: AzureOptions, *, blocks: tuple[str, ...], subnet_block: str, is_missing: bool
) -> Network:
    """Return bigmachine's own network, whose subnet is to be created."""
    return Network(
        id=id,
        subnet=f"{id}/subnets/{o.subnet or OWN_SUBNET}",
        blocks=blocks,
        subnet_blocks=(subnet_block,),
        is_missing=is_missing,
        has_subnet=False,
    )


def _own_block() -> str:
    """Return a block for bigmachine's own network, in which this computer has no address."""
    for block in _OWN_BLOCKS:
        if not addresses_inside([block]):
            return block
    return _OWN_BLOCKS[0]


def _free_block(network: Mapping[str, Any]) -> str:
    """Return the largest block of a network that none of its subnets has. Raises `UsageError`."""
    taken = [
        ipaddress.IPv4Network(block)
        for subnet in _subnets(network)
        for block in _ipv4(_prefixes(subnet.get("properties") or {}))
    ]
    free = [ipaddress.IPv4Network(block) for block in _blocks(network)]
    for block in taken:
        apart = [each for each in free if not each.overlaps(block)]
        around = [each for each in free if block.subnet_of(each) and block != each]
        free = apart + [part for each in around for part in each.address_exclude(block)]
    largest = min(free, key=lambda block: (block.prefixlen, block), default=None)
    if largest is None or largest.prefixlen > _SMALLEST_PREFIX:
        raise UsageError(
            f"network: {network['name']} in bigmachine's resource group has no subnet "
            f"{OWN_SUBNET!r}, and the others ({_names(_subnets(network))}) leave no room for one: "
            f"pass network={network['name']!r} and subnet, or delete a subnet there"
        )
    return str(largest)


async def _read(api: Api, group: str, name: str) -> dict[str, Any] | None:
    """Return a virtual network, with its subnets; None if there is none."""
    try:
        network: dict[str, Any] = await api.read(
            "virtual_networks.get", resource_group_name=group, virtual_network_name=name
        )
    except AzureError as error:
        if error.is_not_found:
            return None
        raise
    return network


def _check_place(raw: Mapping[str, Any], place: Place, *, option: str) -> None:
    """Raise `UsageError` for a resource elsewhere: all of a VM's must be in its location."""
    location = location_name(raw.get("location") or "")
    if location != place.location:
        raise UsageError(
            f"{option}: {raw['name']} is in {location}, but the session in {place.location}: name "
            f"one of {place.location}, or pass location={location!r}"
        )


def _choose_subnet(network: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the subnet of this name, or the only one that VMs can use. Raises `UsageError`."""
    subnets = _subnets(network)
    by_name = {each["name"].lower(): each for each in subnets}
    if name:
        chosen = by_name.get(name.lower())
        if chosen is None:
            listed = f"it has {_names(subnets)}" if subnets else "it has none"
            raise UsageError(
                f"subnet: the network {network['name']} has no subnet {name!r}; {listed}"
            )
        if problem := _unusable(chosen):
            raise UsageError(f"subnet: {chosen['name']} {problem}: name another one")
        return chosen
    usable = [each for each in subnets if not _unusable(each)]
    if len(usable) == 1:
        return usable[0]
    if own := [each for each in usable if each["name"] == OWN_SUBNET]:
        return own[0]
    if usable:
        raise UsageError(
            f"subnet: the network {network['name']} has several: name one of {_names(usable)}"
        )
    raise UsageError(
        f"network: {network['name']} has no subnet for VMs: name another network, or create one "
        f"(`az network vnet subnet create --resource-group {network['id'].split('/')[4]} "
        f"--vnet-name {network['name']} --name machines --address-prefixes BLOCK`)"
    )


def _unusable(subnet: Mapping[str, Any]) -> str:
    """Return why VMs can't be in a subnet; "" if they can."""
    # "Azure Bastion", "VPN Gateway" and "Azure Firewall": each wants a subnet of its own.
    if subnet["name"].startswith(("Azure", "GatewaySubnet", "RouteServerSubnet")):
        return "is for a service of Azure alone"
    properties = subnet.get("properties") or {}
    for each in properties.get("delegations") or ():
        service = (each.get("properties") or {}).get("serviceName", "a service")
        return f"is delegated to {service}, and takes no VMs"
    if not any("." in block for block in _prefixes(properties)):
        return "is IPv6 only, and machines need IPv4 addresses"
    return ""


def _network_from(raw: Mapping[str, Any], subnet: Mapping[str, Any]) -> Network:
    properties = subnet.get("properties") or {}
    return Network(
        id=raw["id"],
        subnet=subnet["id"],
        blocks=_blocks(raw),
        subnet_blocks=_ipv4(_prefixes(properties)),
        security_group=(properties.get("networkSecurityGroup") or {}).get("id", ""),
        has_way_out=bool(
            properties.get("natGateway")
            or properties.get("routeTable")  # where its routes lead, who made it knows
            or properties.get("defaultOutboundAccess") is not False
        ),
    )


async def _with_room(api: Api, network: Network) -> Network:
    """Return the network with the number of its free addresses, if that can be read."""
    try:
        usages = await api.read_all(
            "virtual_networks.list_usage",
            resource_group_name=network.group,
            virtual_network_name=network.name,
        )
    except AzureError as error:
        if error.is_denied or error.is_not_found:
            return network
        raise
    for usage in usages:
        if usage.get("id", "").lower() == network.subnet.lower():
            # The five addresses that Azure keeps of each subnet are not in the limit.
            free = max(0, int(usage["limit"]) - int(usage["currentValue"]))
            return dataclasses.replace(network, free_addresses=free)
    return network


def _subnets(network: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (network.get("properties") or {}).get("subnets") or ()


def _names(subnets: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(sorted(each["name"] for each in subnets))


def _prefixes(properties: Mapping[str, Any]) -> Sequence[str]:
    single = properties.get("addressPrefix")
    return properties.get("addressPrefixes") or ([single] if single else [])


def _blocks(network: Mapping[str, Any]) -> tuple[str, ...]:
    space = (network.get("properties") or {}).get("addressSpace") or {}
    return _ipv4(space.get("addressPrefixes") or ())


def _ipv4(blocks: Iterable[str]) -> tuple[str, ...]:
    return tuple(block for block in blocks if ":" not in block)
