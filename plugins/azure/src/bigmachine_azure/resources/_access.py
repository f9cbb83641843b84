"""How a session's driver and machines reach each other: security group, and public addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bigmachine import cloud
from bigmachine.errors import BigmachineError

from ..api._advice import explain
from ..api._errors import AzureError
from ..options._names import session_resource_name
from ._security_group import SessionSecurityGroup

if TYPE_CHECKING:
    from ..api._api import Api
    from ..options._options import AzureOptions
    from ._network import Network


class Access(cloud.Access[SessionSecurityGroup, AzureError]):
    """Lets the driver in to the session's machines, also after its address has changed.

    ``allow`` are the CIDR blocks that may connect, ``security_group`` is the ID of the user's own
    group, or "", and ``address_service_url`` a service that returns this computer's public address.
    """

    system = "azure"

    def __init__(
        self,
        api: Api,
        options: AzureOptions,
        *,
        network: Network,
        allow: Sequence[str],
        security_group: str,
        location: str,
        address_service_url: str,
    ) -> None:
        super().__init__(
            options,
            allow=allow,
            blocks=network.blocks,
            address_service_url=address_service_url,
            has_firewall=not options.security_group,
        )
        self._api = api
        self._options = options
        self._network = network
        self._security_group = security_group
        self._location = location

    def explain(self, error: AzureError) -> BigmachineError:
        """Return the error for the user."""
        return explain(error)

    async def open(self, *, session: str, tags: Mapping[str, str]) -> str:
        """Return the ID of the security group for new VMs. Raises `AzureError`."""
        if self._security_group:
            return self._security_group
        await self.look_up()
        self.firewall = self.firewall or SessionSecurityGroup(
            self._api,
            name=session_resource_name(session),
            location=self._location,
            subnet=self._network.subnet_blocks,
            port=self._options.port,
            has_ssh=self._options.has_ssh,
        )
        return await self.firewall.open(allow=self.allow, tags=tags)
