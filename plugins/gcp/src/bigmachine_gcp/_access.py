"""How a session's driver and machines reach each other: firewall rule, and external addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import trio

from bigmachine import cloud
from bigmachine.errors import BigmachineError
from bigmachine.system import Instance, source_address

from . import _labels
from ._advice import explain
from ._errors import GcpError
from ._firewall import SessionFirewallRule
from ._leftovers import RULE

if TYPE_CHECKING:
    from ._api import Api
    from ._network import Network
    from ._options import GcpOptions
    from ._vms import Vm


class MachineAddresses:
    """Where the driver reaches instances: their external addresses, by the internal ones.

    The network's firewall knows machines by their internal addresses, so these are the ones that
    machines have for one another. The driver is mostly elsewhere; inside the network, it uses them.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._external: dict[str, str] = {}

    def learn(self, vms: Iterable[Vm], *, allow: Sequence[str]) -> None:
        """Take note of new instances. ``allow`` are the CIDR blocks that may connect, if known."""
        for vm in vms:
            is_inside = _is_inside(vm.internal_address, self._network.blocks, allow)
            if vm.external_address and not is_inside:
                self._external[vm.internal_address] = vm.external_address
            else:
                self._external.pop(vm.internal_address, None)  # of an instance before

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """Open a TCP connection to an instance."""
        return await trio.open_tcp_stream(self._external.get(host, host), port)


class Access(cloud.Access[SessionFirewallRule, GcpError]):
    """Lets the driver in to the session's machines, also after its address has changed.

    ``allow`` are the CIDR blocks of the user, or the driver's addresses, just looked up.
    ``address_service_url`` is a service that returns this computer's public address.
    """

    system = "gcp"

    def __init__(
        self,
        api: Api,
        options: GcpOptions,
        *,
        network: Network,
        allow: Sequence[str],
        address_service_url: str,
    ) -> None:
        super().__init__(
            options,
            allow=allow,
            blocks=network.blocks,
            address_service_url=address_service_url,
            has_firewall=not options.network_tags,
        )
        self.addresses = MachineAddresses(network)
        self._api = api
        self._options = options
        self._network = network

    def explain(self, error: GcpError) -> BigmachineError:
        """Return the error for the user."""
        return explain(error)

    @property
    def rule(self) -> Instance | None:
        """The session's firewall rule, to be deleted; None if no request was sent to create it."""
        if self.firewall is None:
            return None
        details = {"kind": RULE, "project": self._network.project}
        return Instance(RULE, "", id=self.firewall.name, details=details)

    async def open(self, *, session: str, description: str) -> Sequence[str]:
        """Return the network tags for new instances. Raises `GcpError`."""
        o = self._options
        if o.network_tags:
            return o.network_tags
        await self.look_up()
        self.firewall = self.firewall or SessionFirewallRule(
            self._api,
            name=_labels.session_resource_name(session),
            network=self._network,
            port=o.port,
            has_ssh=o.has_ssh,
            description=description,
        )
        await self.firewall.open(allow=self.allow)
        return (self.firewall.name,)

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """Open a TCP connection to a machine: see `MachineAddresses`."""
        return await self.addresses.connect(host, port)


def _is_inside(host: str, blocks: Sequence[str], allow: Sequence[str]) -> bool:
    """Whether this computer is in a network of these blocks, and is let in there by ``allow``."""
    own = source_address(host) if host else None
    return own is not None and _has(blocks, own) and (not allow or _has(allow, own))


def _has(blocks: Sequence[str], address: str) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(block) for block in blocks)
