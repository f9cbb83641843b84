"""Whether somebody else's firewall rules keep the driver away from machines.

An organization's firewall policies come before all rules of a network, and a network's own rule
that denies may come before a session's. They refuse no request: packets are dropped, and a machine
would never be reached ("Firewall policies", "VPC firewall rules").
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import GcpError
from ..options._option_formats import resource_path
from ._network import Network

SESSION_PRIORITY = 1000
"""The priority of a session's rule, which is the default; of two equal ones, that denies wins."""

# What a policy's rule may say of the source besides its address, which can't be checked here.
_OTHER_SOURCES = (
    "src_address_groups",
    "src_fqdns",
    "src_network_context",
    "src_network_type",
    "src_networks",
    "src_region_codes",
    "src_secure_tags",
    "src_threat_intelligences",
)


class _Applies(enum.Enum):
    """Whether a rule applies to a connection of the driver."""

    YES = enum.auto()
    NO = enum.auto()
    MAYBE = enum.auto()


async def check_firewalls(api: Api, network: Network, *, blocks: Sequence[str], port: int) -> None:
    """Raise `UsageError` if rules surely drop what comes from these CIDR blocks to the port.

    Where that is uncertain, or the rules may not be read, this does nothing. Raises `GcpError`.
    """
    try:
        rules = await api.read(
            "networks.get_effective_firewalls", project=network.project, network=network.name
        )
    except GcpError as error:
        if error.is_denied:
            return
        raise
    for block in blocks:
        if blocking := find_blocking_rule(rules, network=network.link, block=block, port=port):
            raise UsageError(
                f"network: {blocking} drops what comes to {network.name} from {block} to port "
                f"{port}, before a session's rule is asked: have an administrator allow it, pass "
                f"another port or network, or run the driver where it is allowed"
            )


def find_blocking_rule(rules: Any, *, network: str, block: str, port: int) -> str:
    """Return which rule surely drops connections from a CIDR block to a TCP port; "" if none does.

    ``rules`` are the answer of ``networks.getEffectiveFirewalls`` for the path ``network``.
    """
    for policy in rules.firewall_policys:
        if policy.type_ != "HIERARCHY":
            continue  # they come after the network's own rules, unless somebody changed that
        for rule in sorted(policy.rules, key=lambda rule: rule.priority):
            applies = _policy_rule_applies(rule, network=network, block=block, port=port)
            if applies is _Applies.NO:
                continue
            if applies is _Applies.MAYBE or rule.action not in ("deny", "goto_next"):
                return ""
            if rule.action == "goto_next":
                break
            name = policy.short_name or policy.display_name or policy.name
            return f"rule {rule.priority} of the organization's firewall policy {name!r}"
    return _blocking_network_rule(rules.firewalls, block=block, port=port)


def _blocking_network_rule(firewalls: Iterable[Any], *, block: str, port: int) -> str:
    # Those that deny come first among equals.
    for rule in sorted(firewalls, key=lambda rule: (rule.priority, not rule.denied)):
        if rule.priority > SESSION_PRIORITY:
            return ""
        applies = _network_rule_applies(rule, block=block, port=port)
        if applies is _Applies.MAYBE or (applies is _Applies.YES and not rule.denied):
            return ""
        if applies is _Applies.YES:
            return f"the firewall rule {rule.name!r} (priority {rule.priority})"
    return ""


def _policy_rule_applies(rule: Any, *, network: str, block: str, port: int) -> _Applies:
    match = rule.match
    if rule.direction != "INGRESS" or rule.disabled or rule.target_type == "INTERNAL_MANAGED_LB":
        return _Applies.NO
    if not _has_port([(c.ip_protocol, c.ports) for c in match.layer4_configs], port):
        return _Applies.NO
    if rule.target_resources and network not in map(resource_path, rule.target_resources):
        return _Applies.NO
    others = (*(getattr(match, name) for name in _OTHER_SOURCES), match.dest_ip_ranges)
    targets = (rule.target_service_accounts, rule.target_secure_tags)
    return _of_source(match.src_ip_ranges, block, is_sure=not any((*others, *targets)))


def _network_rule_applies(rule: Any, *, block: str, port: int) -> _Applies:
    if rule.direction != "INGRESS" or rule.disabled:
        return _Applies.NO
    if rule.source_tags and not rule.source_ranges:
        return _Applies.NO  # they are for what comes from other instances
    if rule.target_tags:
        return _Applies.NO  # a session's machines have no tag of others
    if not _has_port([(d.I_p_protocol, d.ports) for d in (*rule.denied, *rule.allowed)], port):
        return _Applies.NO
    others = (rule.target_service_accounts, rule.source_service_accounts, rule.destination_ranges)
    return _of_source(rule.source_ranges, block, is_sure=not any(others))


def _has_port(configs: Sequence[tuple[str, Sequence[str]]], port: int) -> bool:
    """Whether protocols, with their ports, include a TCP port; none at all are all."""
    return not configs or any(
        protocol in ("all", "tcp", "6") and (not ports or any(_in_range(port, p) for p in ports))
        for protocol, ports in configs
    )


def _in_range(port: int, ports: str) -> bool:
    first, _, last = ports.partition("-")
    return int(first) <= port <= int(last or first)


def _of_source(ranges: Sequence[str], block: str, *, is_sure: bool) -> _Applies:
    """Return whether a rule for these CIDR blocks applies to all of another one."""
    inner = ipaddress.IPv4Network(block)
    outer = [ipaddress.IPv4Network(text) for text in ranges if ":" not in text]
    if not ranges or any(inner.subnet_of(network) for network in outer):
        return _Applies.YES if is_sure else _Applies.MAYBE
    return _Applies.MAYBE if any(map(inner.overlaps, outer)) else _Applies.NO
