"""How the driver reaches instances with public names: by the names, or at the public addresses.

A resolver of the VPC answers with private addresses, as it should for machines. But the driver
may use that resolver and be elsewhere: in a container, whose address is translated on the way, in
a peered VPC, or behind a VPN ("DNS attributes for your VPC"). Then its packets would come from an
address that the security group does not let in. Other resolvers don't answer at all.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping, Sequence

import trio

from bigmachine.system import source_address

from ._vm import Vm

logger = logging.getLogger("bigmachine.ec2")

_RESOLVE_TIMEOUT = 5.0


async def unusable_names(vms: Sequence[Vm], *, allow: Sequence[str]) -> Mapping[str, str]:
    """Return the public addresses of new instances by their names; none if the names are usable.

    They are if they lead to where the driver is let in: one stands for all. ``allow`` are the CIDR
    blocks that may connect; none if they are not known.
    """
    named = [vm for vm in vms if vm.public_name and vm.public_address]
    if named and (why := await _why_not_by_name(named[0], allow=allow)):
        logger.info("machines are reached at their public addresses: %s", why)
        return {vm.public_name: vm.public_address for vm in named}
    return {}


async def _why_not_by_name(vm: Vm, *, allow: Sequence[str]) -> str:
    """Return why the name of an instance is of no use on this computer; "" if it is."""
    found = await _resolve(vm.public_name)
    if not found:
        return f"{vm.public_name} can't be resolved here"
    if vm.public_address in found:
        return ""
    if vm.private_address not in found:
        return f"{vm.public_name} is {found[0]} here, and at EC2 {vm.public_address}"
    own = source_address(vm.private_address)
    what = f"{vm.public_name} is the private address {vm.private_address} here"
    if own is None:
        return f"{what}, to which this computer has no route"
    if not allow:  # the user's security groups say who may connect
        logger.info("%s; the security groups must let in %s, or what it becomes", what, own)
        return ""
    if any(_is_let_in_privately(own, block) for block in allow):
        logger.debug("%s, and %s is let in there", what, own)
        return ""
    return f"{what}, and {own}, this computer's address towards it, is not let in"


def _is_let_in_privately(own: str, block: str) -> bool:
    """Whether the block is of a private network with this address, not of the whole world."""
    network = ipaddress.ip_network(block)
    is_private = network.prefixlen >= 8 and network.network_address.is_private
    return is_private and ipaddress.ip_address(own) in network


async def _resolve(name: str) -> list[str]:
    """Return the IPv4 addresses of a name; none if it has none, or nobody answers."""
    with trio.move_on_after(_RESOLVE_TIMEOUT):
        try:
            found = await trio.socket.getaddrinfo(
                name, None, family=trio.socket.AF_INET, type=trio.socket.SOCK_STREAM
            )
        except OSError:
            return []
        return [str(address[0]) for *_, address in found]
    return []
