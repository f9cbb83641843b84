"""Whether the rules of a subnet's own security group let the driver in to machines.

They apply besides those of the session's group: inbound packets pass the subnet's first, then the
network interface's ("How network security groups filter network traffic"). A packet that they
drop has no answer, so a driver would wait for its machines until the boot timeout.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import AzureError
from ..options._option_formats import last_part
from ._network import Network, split_id

_ANY = ("*", "any", "0.0.0.0/0")


async def check_subnet_rules(
    api: Api, network: Network, *, blocks: Sequence[str], port: int
) -> None:
    """Raise `UsageError` if the subnet's rules drop TCP to the port from all of the blocks.

    ``blocks`` are the CIDR blocks of the driver. What can't be read is believed to let it in.
    """
    if not (network.security_group and blocks):
        return
    group, name = split_id(api, network.security_group, option="subnet")
    try:
        raw = await api.read(
            "network_security_groups.get",
            resource_group_name=group,
            network_security_group_name=name,
        )
    except AzureError as error:
        if error.is_denied or error.is_not_found:
            return
        raise
    properties = raw.get("properties") or {}
    rules = [*properties.get("securityRules", ()), *properties.get("defaultSecurityRules", ())]
    denials = [_denial(rules, block, port) for block in blocks]
    if not all(denials):
        return
    raise UsageError(
        f"subnet: the network security group {name} of {last_part(network.subnet)} drops TCP port "
        f"{port} from {', '.join(blocks)} (by its rule {denials[0]}), so the driver would not "
        f"reach machines: allow it (`az network nsg rule create --resource-group {group} "
        f"--nsg-name {name} --name bigmachine --priority 200 --access Allow --protocol Tcp "
        f"--source-address-prefixes {' '.join(blocks)} --destination-port-ranges {port}`), or "
        f"name another subnet"
    )


def _denial(rules: Iterable[Mapping[str, Any]], block: str, port: int) -> str:
    """Return the name of the rule that drops packets from a block; "" if none does.

    Of those that match, the one with the lowest number decides.
    """
    matching = [rule for rule in rules if _matches(rule["properties"], block, port)]
    first = min(matching, key=lambda rule: int(rule["properties"]["priority"]), default=None)
    if first is None or first["properties"].get("access") != "Deny":
        return ""
    return str(first["name"])


def _matches(rule: Mapping[str, Any], block: str, port: int) -> bool:
    return (
        rule.get("direction") == "Inbound"
        and rule.get("protocol", "*").lower() in ("tcp", "*")
        and any(_has_port(each, port) for each in _each(rule, "destinationPortRange"))
        and any(_has_source(each, block) for each in _each(rule, "sourceAddressPrefix"))
    )


def _each(rule: Mapping[str, Any], name: str) -> Sequence[str]:
    """Return the values of a property that also has a plural."""
    single = rule.get(name)
    plural: Sequence[str] = rule.get(f"{name}es" if name.endswith("x") else f"{name}s") or ()
    return [*plural, single] if single else plural


def _has_port(ports: str, port: int) -> bool:
    if ports == "*":
        return True
    first, _, last = ports.partition("-")
    return int(first) <= port <= int(last or first)


def _has_source(source: str, block: str) -> bool:
    """Whether a rule's source includes a block, as far as that is known."""
    network = ipaddress.IPv4Network(block)
    if source.lower() in _ANY:
        return True
    if source == "VirtualNetwork":  # and its peers, and networks behind its gateways
        return network.is_private
    if source == "Internet":
        return not network.is_private
    try:
        return network.subnet_of(ipaddress.IPv4Network(source, strict=False))
    except ValueError:  # another service tag, or IPv6
        return False
