"""Firewall policies of an organization, and all rules that hold in a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call, implements

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

_LAST = 2147483647
EVERYWHERE = ["0.0.0.0/0"]


@dataclass
class FirewallPolicies:
    """The policies above the project, the organization's first."""

    gce: Gce
    all: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, *rules: dict[str, Any]) -> None:
        """Add a policy; what its rules don't say goes on to the next one."""
        last = rule(_LAST, "goto_next")
        policy = {"name": "1234567890", "shortName": name, "type": "HIERARCHY"}
        self.all.append({**policy, "rules": [*rules, last]})

    @implements("networks.getEffectiveFirewalls")
    def get_effective(self, call: Call) -> Any:
        link = self.gce.link(f"global/networks/{call.network}")
        firewalls = [each for each in self.gce.firewalls.all.values() if each["network"] == link]
        system = {"name": "0", "shortName": "system", "type": "SYSTEM", "rules": []}
        return {"firewalls": firewalls, "firewallPolicys": [*self.all, system]}


def rule(priority: int, action: str, **match: Any) -> dict[str, Any]:
    """Return a rule for what comes in; ``match`` says from where and to which port, as the API."""
    matched = {"srcIpRanges": EVERYWHERE, "layer4Configs": [{"ipProtocol": "all"}], **match}
    return {
        "kind": "compute#firewallPolicyRule",
        "priority": priority,
        "action": action,
        "direction": "INGRESS",
        "match": matched,
    }
