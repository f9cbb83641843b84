"""How a session's driver reaches its machines: by its security group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bigmachine import cloud
from bigmachine.errors import BigmachineError

from ..api._advice import explain
from ..api._api import Api
from ..api._errors import AwsError
from ..options._options import Ec2Options
from ._network import Network
from ._security_group import SessionSecurityGroup


class Access(cloud.Access[SessionSecurityGroup, AwsError]):
    """Lets the driver in to the session's machines, also after its address has changed.

    ``allow`` are the CIDR blocks of the user, or the driver's addresses, just looked up.
    ``address_service_url`` is a service that returns this computer's public address, and
    ``caller_arn`` the ARN of the credentials, for errors.
    """

    system = "ec2"

    def __init__(
        self,
        api: Api,
        options: Ec2Options,
        *,
        network: Network,
        allow: Sequence[str],
        address_service_url: str,
        caller_arn: str,
    ) -> None:
        super().__init__(
            options,
            allow=allow,
            blocks=network.blocks,
            address_service_url=address_service_url,
            has_firewall=not options.security_groups,
        )
        self._api = api
        self._options = options
        self._vpc = network.vpc
        self._caller_arn = caller_arn

    def explain(self, error: AwsError) -> BigmachineError:
        """Return the error for the user."""
        return explain(error, caller_arn=self._caller_arn)

    @property
    def group_id(self) -> str:
        """The id of the session's security group; "" without one."""
        return self.firewall.id if self.firewall is not None else ""

    async def open(self, *, session: str, tags: Mapping[str, str]) -> Sequence[str]:
        """Return the security groups for new instances. Raises `AwsError`."""
        o = self._options
        if o.security_groups:
            return o.security_groups
        await self.look_up()
        self.firewall = self.firewall or SessionSecurityGroup(
            self._api, session=session, vpc=self._vpc, port=o.port, has_ssh=o.has_ssh
        )
        return (await self.firewall.open(allow=self.allow, tags=tags),)
