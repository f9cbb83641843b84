"""How a session's driver and machines reach each other: its security group, and its names."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence

from bigmachine.system import DriverAddresses, driver_addresses

from ._advice import explain
from ._api import Api
from ._errors import AwsError
from ._machine_names import MachineNames
from ._network import Network, SessionSecurityGroup
from ._options import Ec2Options

logger = logging.getLogger("bigmachine.ec2")

_FRESH_SECONDS = 60.0  # for which a driver is believed to be where it was


class Access:
    """Lets the driver in to the session's machines, also after its address has changed.

    ``allow`` are the CIDR blocks of the user, or the driver's addresses, just looked up.
    ``address_service_url`` is a service that returns this computer's public address.
    """

    def __init__(
        self,
        api: Api,
        options: Ec2Options,
        *,
        network: Network,
        allow: Sequence[str],
        address_service_url: str,
    ) -> None:
        self.names = MachineNames()
        self._driver = DriverAddresses(
            allow,
            look_up=None
            if options.allow or options.security_groups
            else functools.partial(
                driver_addresses,
                network.blocks,
                is_public=options.public_address,
                address_service_url=address_service_url,
            ),
        )
        self._api = api
        self._options = options
        self._vpc = network.vpc
        self._group: SessionSecurityGroup | None = None
        self._last_error = ""

    @property
    def allow(self) -> Sequence[str]:
        """The CIDR blocks that may connect; none with the user's own security groups."""
        return self._driver.blocks

    @property
    def group_id(self) -> str:
        """The id of the session's security group; "" without one."""
        return self._group.id if self._group is not None else ""

    async def open(self, *, session: str, tags: Mapping[str, str]) -> Sequence[str]:
        """Return the security groups for new instances. Raises `AwsError`."""
        o = self._options
        if o.security_groups:
            return o.security_groups
        await self._driver.update(max_age=_FRESH_SECONDS)
        self._group = self._group or SessionSecurityGroup(
            self._api, session=session, vpc=self._vpc, port=o.port, has_ssh=o.has_ssh
        )
        return (await self._group.open(allow=self.allow, tags=tags),)

    async def restore(self, *, caller_arn: str) -> None:
        """Let the driver in at its present address, and no longer at its old one.

        Failures are logged. ``caller_arn`` is the ARN of the credentials, for errors.
        """
        await self._driver.update()
        try:
            if self._group is not None:
                await self._group.let_in(self.allow)
            self._last_error = ""
        except AwsError as error:
            if error.code != self._last_error:  # it is tried again and again
                logger.warning(
                    "machines are silent, and this computer can't be let in at its new address: %s",
                    explain(error, caller_arn=caller_arn),
                )
            self._last_error = error.code

    def forget_group(self) -> None:
        """Forget the security group: it is deleted, or left to others."""
        self._group = None
