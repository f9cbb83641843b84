"""How a session's driver and machines reach each other: its security group, and its names."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping, Sequence

import trio

from bigmachine.errors import BigmachineError

from ._advice import explain
from ._api import Api
from ._driver_addresses import driver_addresses
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
        self.allow = _collapsed(allow)
        """The CIDR blocks that may connect; none with the user's own security groups."""
        self._api = api
        self._options = options
        self._network = network
        self._address_service_url = address_service_url
        self._looked_up = trio.current_time()
        self._group: SessionSecurityGroup | None = None
        self._last_error = ""

    @property
    def group_id(self) -> str:
        """The id of the session's security group; "" without one."""
        return self._group.id if self._group is not None else ""

    async def open(self, *, session: str, tags: Mapping[str, str]) -> Sequence[str]:
        """Return the security groups for new instances. Raises `AwsError`."""
        o = self._options
        if o.security_groups:
            return o.security_groups
        if trio.current_time() >= self._looked_up + _FRESH_SECONDS:
            await self._look_up()
        self._group = self._group or SessionSecurityGroup(
            self._api, session=session, vpc=self._network.vpc, port=o.port, has_ssh=o.has_ssh
        )
        return (await self._group.open(allow=self.allow, tags=tags),)

    async def restore(self, *, caller_arn: str) -> None:
        """Let the driver in at its present address, and no longer at its old one.

        Failures are logged. ``caller_arn`` is the ARN of the credentials, for errors.
        """
        await self._look_up()
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

    async def _look_up(self) -> None:
        """Look the driver's addresses up again, unless the user has named who may connect."""
        o = self._options
        if o.allow or o.security_groups:
            return
        try:
            found = _collapsed(
                await driver_addresses(
                    self._network,
                    is_public=o.public_address,
                    address_service_url=self._address_service_url,
                )
            )
        except BigmachineError as error:  # perhaps there is no network, for now
            logger.info("this computer's address can't be looked up again: %s", error)
            return
        self._looked_up = trio.current_time()
        if found != self.allow:
            logger.warning(
                "this computer's address has changed from %s to %s, which the session's security "
                "group is to let in",
                ", ".join(self.allow),
                ", ".join(found),
            )
            self.allow = found


def _collapsed(blocks: Sequence[str]) -> tuple[str, ...]:
    """Return the fewest CIDR blocks that are the same addresses.

    EC2 refuses blocks that come twice, or are written without their length, and takes sixty
    rules ("Amazon VPC quotas").
    """
    return tuple(map(str, ipaddress.collapse_addresses(map(ipaddress.IPv4Network, blocks))))
