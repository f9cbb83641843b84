"""The session's network security group: its machines' port is open to the driver and their subnet.

Azure lets in all of a virtual network, and of those that it is peered with, by a rule of its own
("Network security groups": AllowVNetInBound). So the last rule here denies the rest. Packets of
the subnet are let in, not those of this session's machines alone: who connects must have a
certificate of the session in any case, and an application security group would be one more
resource of each session, with permissions of its own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import poll_intervals
from bigmachine.system import SSH_PORT

from ..api._errors import AzureError
from ..api._resource_ids import normal_id

if TYPE_CHECKING:
    from ..api._api import Api

# Of 100 to 4096; the first that matches counts.
_DRIVER, _MACHINES, _REST = 1000, 1010, 4096
_UPDATE_SECONDS = 60.0  # in which another change of the group has ended


def group_body(
    *,
    location: str,
    tags: Mapping[str, str],
    ports: Sequence[int],
    allow: Sequence[str],
    subnet: Sequence[str],
) -> dict[str, Any]:
    """Return a session's security group, as ``network_security_groups.create_or_update`` takes it.

    ``allow`` and ``subnet`` are CIDR blocks: the driver's, and those of the machines' subnet.
    """
    driver = _rule("bigmachine-driver", _DRIVER, sources=allow, ports=ports)
    machines = _rule("bigmachine-machines", _MACHINES, sources=subnet, ports=ports[:1])
    return {
        "location": location,
        "tags": {**tags},
        "properties": {
            "securityRules": [
                *([driver] if allow else []),
                *([machines] if subnet else []),
                _rule("bigmachine-rest", _REST, sources=["*"], ports=[], access="Deny"),
            ]
        },
    }


class SessionSecurityGroup:
    """The session's security group: ``port`` is open to the driver and the machines' subnet.

    With ``has_ssh``, ssh's port is open to the driver, too.
    """

    def __init__(
        self,
        api: Api,
        *,
        name: str,
        location: str,
        subnet: Sequence[str],
        port: int,
        has_ssh: bool,
    ) -> None:
        self.name = name
        self.id = ""
        """Its resource ID, once it was created, or may have been."""
        self._api = api
        self._group = api.resource_group
        self._location = location
        self._subnet = subnet
        self._ports = (port, SSH_PORT) if has_ssh else (port,)
        self._tags: Mapping[str, str] = {}
        self._lock = trio.Lock()

    async def open(self, *, allow: Sequence[str], tags: Mapping[str, str]) -> str:
        """Create the group, unless it exists; let in ``allow`` alone, and return its ID.

        ``allow`` are the driver's CIDR blocks. Raises `AzureError`.
        """
        async with self._lock:
            self._tags = self._tags or tags
            self.id = normal_id(
                f"{self._api.group_id(self._group)}/providers/Microsoft.Network"
                f"/networkSecurityGroups/{self.name}"
            )
            await self._let_in(allow)
            return self.id

    async def let_in(self, allow: Sequence[str]) -> bool:
        """Let in these CIDR blocks of the driver, and its old ones no longer.

        A group that somebody has deleted or changed is as it was again. Returns whether that was
        so, or the blocks were others. Raises `AzureError`.
        """
        async with self._lock:
            return await self._let_in(allow) if self.id else False

    async def _let_in(self, allow: Sequence[str]) -> bool:
        wanted = group_body(
            location=self._location,
            tags=self._tags,
            ports=self._ports,
            allow=allow,
            subnet=self._subnet,
        )
        found = await self._find()
        if found is not None and _rules_of(found) == _rules_of(wanted):
            return False
        await self._put({**wanted, "tags": {**((found or {}).get("tags") or {}), **self._tags}})
        return True

    async def _put(self, body: Mapping[str, Any]) -> None:
        """Create or replace the group. Azure does one change of it after the other."""
        end = trio.current_time() + _UPDATE_SECONDS
        for delay in poll_intervals():
            try:
                await self._api.change_and_wait(
                    "network_security_groups.create_or_update",
                    resource_group_name=self._group,
                    network_security_group_name=self.name,
                    parameters=body,
                )
                return
            except AzureError as error:
                if not error.is_temporary or trio.current_time() > end:
                    raise
            await trio.sleep(delay)

    async def _find(self) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = await self._api.read(
                "network_security_groups.get",
                resource_group_name=self._group,
                network_security_group_name=self.name,
            )
        except AzureError as error:
            if error.is_not_found:
                return None
            raise
        return found


def _rule(
    name: str, priority: int, *, sources: Iterable[str], ports: Sequence[int], access: str = "Allow"
) -> dict[str, Any]:
    """Return a rule about what comes in; without ``ports``, about all of them and all protocols."""
    prefixes = [*sources]
    is_any = prefixes == ["*"]
    return {
        "name": name,
        "properties": {
            "priority": priority,
            "direction": "Inbound",
            "access": access,
            "protocol": "Tcp" if ports else "*",
            **({"sourceAddressPrefix": "*"} if is_any else {"sourceAddressPrefixes": prefixes}),
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            **(
                {"destinationPortRanges": [str(port) for port in ports]}
                if ports
                else {"destinationPortRange": "*"}
            ),
        },
    }


def _rules_of(group: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    """Return what a group's rules say, in a form that can be compared.

    Azure gives one source or one port in a field of its own, or in the list.
    """
    rules = (group.get("properties") or {}).get("securityRules") or ()
    return {_comparable(rule.get("properties") or {}) for rule in rules}


def _comparable(rule: Mapping[str, Any]) -> tuple[Any, ...]:
    words = ("access", "direction", "protocol", "sourcePortRange", "destinationAddressPrefix")
    return (
        rule.get("priority"),
        *(str(rule.get(word) or "").lower() for word in words),
        frozenset(map(_block, _one_or_all(rule, "sourceAddressPrefix", "sourceAddressPrefixes"))),
        frozenset(_one_or_all(rule, "destinationPortRange", "destinationPortRanges")),
    )


def _one_or_all(rule: Mapping[str, Any], one: str, all: str) -> list[str]:
    return [*filter(None, (rule.get(one), *(rule.get(all) or ())))]


def _block(prefix: str) -> str:
    """Return a source as it can be compared: ``192.0.2.7/32`` for ``192.0.2.7``."""
    try:
        return str(ipaddress.ip_network(prefix, strict=False))
    except ValueError:
        return prefix.lower()
