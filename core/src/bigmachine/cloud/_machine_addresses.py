"""Where a driver reaches machines: not always at the addresses that they have for one another."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

import trio

from ..system import source_address


class MachineAddresses:
    """Where this computer reaches machines, by the hosts of their `Instance.address`.

    A network's firewall knows machines by their internal addresses, so these are the ones that
    machines have for one another. The driver is mostly elsewhere, and reaches them at external
    ones; inside the network, whose CIDR ``blocks`` are given, it uses the internal ones, too.
    """

    def __init__(self, blocks: Sequence[str]) -> None:
        self._blocks = blocks
        self._external: dict[str, str] = {}

    def learn(self, external: Mapping[str, str], *, allow: Sequence[str]) -> None:
        """Take note of new machines: their external addresses, "" without one, by internal ones.

        ``allow`` are the CIDR blocks that may connect; none if they are not known.
        """
        for internal, address in external.items():
            if address and not _is_inside(internal, self._blocks, allow):
                self._external[internal] = address
            else:
                self._external.pop(internal, None)  # of a machine before

    def replace(self, hosts: Mapping[str, str]) -> None:
        """Reach these hosts, addresses or names, elsewhere from now on, wherever this computer is.

        It maps a host of an `Instance.address` to an address.
        """
        self._external.update(hosts)

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """Open a TCP connection to a machine, given the host of its `Instance.address`."""
        return await trio.open_tcp_stream(self._external.get(host, host), port)


def _is_inside(host: str, blocks: Sequence[str], allow: Sequence[str]) -> bool:
    """Whether this computer is in a network of these blocks, and is let in there by ``allow``."""
    own = source_address(host) if host else None
    return own is not None and _has(blocks, own) and (not allow or _has(allow, own))


def _has(blocks: Sequence[str], address: str) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(block) for block in blocks)
