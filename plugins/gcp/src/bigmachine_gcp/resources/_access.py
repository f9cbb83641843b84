"""How a session's driver reaches its machines: by its firewall rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bigmachine import cloud
from bigmachine.errors import BigmachineError
from bigmachine.system import Instance

from ..api._advice import explain
from ..api._errors import GcpError
from ._firewall import SessionFirewallRule
from ._leftovers import RULE

if TYPE_CHECKING:
    from ..api._api import Api
    from ..options._options import GcpOptions
    from ._network import Network


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
            name=cloud.session_resource_name(session),
            network=self._network,
            port=o.port,
            has_ssh=o.has_ssh,
            description=description,
        )
        await self.firewall.open(allow=self.allow)
        return (self.firewall.name,)
