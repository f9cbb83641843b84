"""The session's firewall rule: its machines' port is open to the driver and to themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import backoff
from bigmachine.system import SSH_PORT

from ..api._errors import GcpError

if TYPE_CHECKING:
    from ..api._api import Api
    from ._network import Network

_ATTEMPTS = 8


def rule_request(
    name: str,
    *,
    network: Network,
    ports: Sequence[int],
    allow: Sequence[str],
    description: str,
) -> dict[str, Any]:
    """Return a session's firewall rule, as ``firewalls.insert`` takes it.

    It is about the instances with the network tag ``name``. They reach one another at their
    internal addresses: "source tags cannot be used to control traffic to an instance's external
    IP address" (the discovery document's Firewall).
    """
    return {
        "name": name,
        "description": description,
        "network": network.link,
        "direction": "INGRESS",
        "allowed": [{"I_p_protocol": "tcp", "ports": [str(port) for port in ports]}],
        "target_tags": [name],
        "source_ranges": [*allow],
        "source_tags": [name],
    }


class SessionFirewallRule:
    """The session's firewall rule: ``port`` is open to the driver and the session's machines.

    With ``has_ssh``, ssh's port is open, too. ``name`` is also the machines' network tag.
    """

    def __init__(
        self,
        api: Api,
        *,
        name: str,
        network: Network,
        port: int,
        has_ssh: bool,
        description: str,
    ) -> None:
        self.name = name
        self._api = api
        self._network = network
        self._ports = (port, SSH_PORT) if has_ssh else (port,)
        self._description = description
        self._lock = trio.Lock()
        self._is_open = False

    async def open(self, *, allow: Sequence[str]) -> None:
        """Create the rule, unless it exists; let in ``allow`` alone, the driver's CIDR blocks.

        Raises `GcpError`.
        """
        async with self._lock:
            await self._let_in(allow)

    async def let_in(self, allow: Sequence[str]) -> bool:
        """Let in these CIDR blocks of the driver, and its old ones no longer.

        A rule that somebody has deleted, disabled or changed is as it was again. Returns whether
        that was so, or the blocks were others. Raises `GcpError`.
        """
        async with self._lock:
            return await self._let_in(allow) if self._is_open else False

    async def _let_in(self, allow: Sequence[str]) -> bool:
        wanted = rule_request(
            self.name,
            network=self._network,
            ports=self._ports,
            allow=allow,
            description=self._description,
        )
        found = await self._find() if self._is_open else None
        if found is None:
            try:
                await self._change("insert", firewall_resource=wanted)
                self._is_open = True
                return True
            except GcpError as error:
                # Sessions' names are unique, so an earlier attempt created it, whose answer is
                # lost.
                if not (error.is_conflict or error.is_outcome_unknown):
                    raise
                found = await self._await_lost()
                if found is None:
                    raise
            self._is_open = True
        if _is_as(found, wanted):
            return False
        # A merge patch ("JSON merge patch format"): lists are replaced as a whole.
        await self._change(
            "patch",
            firewall=self.name,
            firewall_resource={
                "name": self.name,  # required, by the discovery document
                **{key: wanted[key] for key in ("source_ranges", "source_tags", "target_tags")},
                "allowed": wanted["allowed"],
                "disabled": False,
            },
        )
        return True

    async def _await_lost(self) -> Any:
        """Return the rule that a request without an answer may have created; None if it has not."""
        with trio.CancelScope(shield=True):
            for delay in backoff(_ATTEMPTS):
                if found := await self._find():
                    return found
                await trio.sleep(delay)
        return None

    async def _change(self, method: str, **request: Any) -> None:
        # In a shared network, the rules are in its own project.
        await self._api.change_and_wait(
            f"firewalls.{method}", project=self._network.project, **request
        )

    async def _find(self) -> Any:
        try:
            return await self._api.read(
                "firewalls.get", project=self._network.project, firewall=self.name
            )
        except GcpError as error:
            if error.is_not_found:
                return None
            raise


def _is_as(found: Any, wanted: dict[str, Any]) -> bool:
    """Whether a rule lets in what it is to let in."""
    lists = ("source_ranges", "source_tags", "target_tags")
    ports = [sorted(allowed.ports) for allowed in found.allowed]
    return (
        not found.disabled
        and all(sorted(getattr(found, key)) == sorted(wanted[key]) for key in lists)
        and ports == [sorted(allowed["ports"]) for allowed in wanted["allowed"]]
    )
