"""How a session's driver and machines reach each other: firewall rule, and external addresses."""

from __future__ import annotations

import functools
import ipaddress
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import trio

from bigmachine.system import DriverAddresses, Instance, driver_addresses, source_address

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

logger = logging.getLogger("bigmachine.gcp")

_FRESH_SECONDS = 60.0  # for which a driver is believed to be where it was


class MachineAddresses:
    """Where the driver reaches instances: their external addresses, by the internal ones.

    The network's firewall knows machines by their internal addresses, which their names for
    others have therefore. The driver is mostly elsewhere. Inside the network it stays there.
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


class Access:
    """Lets the driver in to the session's machines, also after its address has changed.

    ``allow`` are the CIDR blocks of the user, or the driver's addresses, just looked up.
    ``address_service_url`` is a service that returns this computer's public address.
    """

    def __init__(
        self,
        api: Api,
        options: GcpOptions,
        *,
        network: Network,
        allow: Sequence[str],
        address_service_url: str,
    ) -> None:
        self.addresses = MachineAddresses(network)
        self._driver = DriverAddresses(
            allow,
            look_up=None
            if options.allow or options.network_tags
            else functools.partial(
                driver_addresses,
                network.blocks,
                is_public=options.public_address,
                address_service_url=address_service_url,
            ),
        )
        self._api = api
        self._options = options
        self._network = network
        self._rule: SessionFirewallRule | None = None
        self._last_error = ""

    @property
    def allow(self) -> Sequence[str]:
        """The CIDR blocks that may connect; none with the user's own network tags."""
        return self._driver.blocks

    @property
    def rule(self) -> Instance | None:
        """The session's firewall rule, to be deleted; None if no request was sent to create it."""
        if self._rule is None:
            return None
        project = self._network.project
        details = {"kind": RULE, "project": project}
        return Instance(RULE, "", id=self._rule.name, details=details)

    async def open(self, *, session: str, description: str) -> Sequence[str]:
        """Return the network tags for new instances. Raises `GcpError`."""
        o = self._options
        if o.network_tags:
            return o.network_tags
        await self._driver.update(max_age=_FRESH_SECONDS)
        self._rule = self._rule or SessionFirewallRule(
            self._api,
            name=_labels.session_resource_name(session),
            network=self._network,
            port=o.port,
            has_ssh=o.has_ssh,
            description=description,
        )
        await self._rule.open(allow=self.allow)
        return (self._rule.name,)

    async def restore(self) -> None:
        """Let the driver in at its present address alone, also if its rule is gone.

        Failures are logged.
        """
        has_moved = await self._driver.update()
        try:
            if self._rule is not None and await self._rule.let_in(self.allow) and not has_moved:
                logger.warning(
                    "somebody has changed or deleted the firewall rule %s of this session: it is "
                    "restored",
                    self._rule.name,
                )
            self._last_error = ""
        except GcpError as error:
            if error.code != self._last_error:  # it is tried again and again
                logger.warning(
                    "machines are silent, and this computer can't be let in at its address: %s",
                    explain(error),
                )
            self._last_error = error.code

    def forget_rule(self) -> None:
        """Forget the firewall rule: it is deleted, or left to others."""
        self._rule = None


def _is_inside(host: str, blocks: Sequence[str], allow: Sequence[str]) -> bool:
    """Whether this computer is in a network of these blocks, and is let in there by ``allow``."""
    own = source_address(host) if host else None
    return own is not None and _has(blocks, own) and (not allow or _has(allow, own))


def _has(blocks: Sequence[str], address: str) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(block) for block in blocks)
