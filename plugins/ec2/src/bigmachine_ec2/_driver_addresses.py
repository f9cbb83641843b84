"""The addresses of this computer that instances see, which their security group lets in."""

from __future__ import annotations

import ipaddress

from bigmachine.errors import StartError, UsageError
from bigmachine.system import public_address, source_address

from ._network import Network


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
        private = [own for own in map(_source_to, network.blocks) if own]
        if private:
            return [f"{own}/32" for own in dict.fromkeys(private)]
        raise UsageError(
            f"public_address: this computer has no route to the VPC's private addresses "
            f"({', '.join(network.blocks)}): use public ones, or set `allow` to the CIDR blocks "
            f"that may connect"
        )
    try:
        public = await public_address(address_service_url)
    except StartError as exc:
        raise StartError(
            f"{exc}: set `allow` to the CIDR blocks that may connect, like allow=['203.0.113.7/32']"
        ) from exc
    own = [public, *addresses_inside(network)]
    return [f"{address}/32" for address in dict.fromkeys(own)]


def addresses_inside(network: Network) -> list[str]:
    """Return this computer's own addresses in the network's VPC: none if it is outside."""
    blocks = [ipaddress.ip_network(block) for block in network.blocks]
    own = [address for address in map(_source_to, network.blocks) if address]
    return [a for a in own if any(ipaddress.ip_address(a) in block for block in blocks)]


def _source_to(block: str) -> str | None:
    return source_address(str(ipaddress.ip_network(block)[1]))
