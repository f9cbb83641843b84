"""Letting the driver in to its session's machines, also after its address has changed."""

from __future__ import annotations

import abc
import functools
import logging
from collections.abc import Sequence
from typing import ClassVar, Generic, Protocol, TypeVar, cast

import trio

from ..errors import BigmachineError
from ..system import DriverAddresses, VmOptions, driver_addresses
from ._machine_addresses import MachineAddresses
from .errors._cloud_error import CloudError

_FRESH_SECONDS = 60.0  # for which a driver is believed to be where it was


class Firewall(Protocol):
    """What lets a session's driver in to its machines: a firewall rule, or a security group."""

    async def let_in(self, allow: Sequence[str], /) -> bool:
        """Let in these CIDR blocks, and those of before no longer.

        Returns whether somebody else had changed or deleted it, which is mended, too. Raises the
        provider's `CloudError`.
        """
        ...


FirewallT = TypeVar("FirewallT", bound=Firewall)
ErrorT = TypeVar("ErrorT", bound=CloudError)


class Access(abc.ABC, Generic[FirewallT, ErrorT]):
    """Keeps a session's firewall open to its driver, and to no other computer. A base class.

    `System.start` calls ``look_up``, and creates the ``firewall`` or opens it again. `CloudSystem`
    calls ``restore`` and ``connect``. ``ErrorT`` is what the firewall raises.
    """

    system: ClassVar[str]
    """The system's name, like ``"ec2"``: messages are logged to ``bigmachine.ec2``."""

    def __init__(
        self,
        options: VmOptions,
        *,
        allow: Sequence[str],
        blocks: Sequence[str],
        address_service_url: str,
        has_firewall: bool = True,
    ) -> None:
        """``allow`` are the CIDR blocks of the user, or the driver's addresses, just looked up.

        ``blocks`` are those of the machines' network, and ``address_service_url`` is a service
        that returns this computer's public address. ``has_firewall`` is whether the session has
        a firewall of its own; else the user decides who may connect.
        """
        self.firewall: FirewallT | None = None
        """The session's own firewall, once it has one."""
        self.addresses = MachineAddresses(blocks)
        """Where the driver reaches machines: a system takes note of new ones."""
        look_up = functools.partial(
            driver_addresses,
            blocks,
            is_public=options.public_address,
            address_service_url=address_service_url,
        )
        is_fixed = bool(options.allow) or not has_firewall
        self._driver = DriverAddresses(allow, look_up=None if is_fixed else look_up)
        self._logger = logging.getLogger(f"bigmachine.{self.system}")
        self._last_error = ""

    @abc.abstractmethod
    def explain(self, error: ErrorT) -> BigmachineError:
        """Return the error for the user, which tells what to do."""

    @property
    def allow(self) -> Sequence[str]:
        """The CIDR blocks that may connect; none if the user decides that."""
        return self._driver.blocks

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """Open a TCP connection to a machine, given its address for other machines.

        Override it if the driver reaches machines by more than `MachineAddresses`, as by a proxy.
        """
        return await self.addresses.connect(host, port)

    async def look_up(self) -> None:
        """Look the driver's addresses up again, unless that was done in the last minute."""
        await self._driver.update(max_age=_FRESH_SECONDS)

    async def restore(self) -> None:
        """Let the driver in at its present address, and no longer at its old one.

        Failures are logged.
        """
        has_moved = await self._driver.update()
        if self.firewall is None:
            return
        try:
            if await self.firewall.let_in(self.allow) and not has_moved:
                self._logger.warning(
                    "somebody has changed or deleted the session's firewall: it is restored"
                )
        except CloudError as error:
            if error.code != self._last_error:  # it is tried again and again
                self._logger.warning(
                    "machines are silent, and this computer can't be let in at its new address: %s",
                    self.explain(cast("ErrorT", error)),  # a firewall's is its provider's
                )
            self._last_error = error.code
        else:
            self._last_error = ""
