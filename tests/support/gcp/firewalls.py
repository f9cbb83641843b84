"""Firewall rules."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call, implements
from tests.support.gcp.errors import GceError, already_exists, invalid, not_found
from tests.support.gcp.lists import one_page

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

_DEFAULT = {
    "default-allow-icmp": (["0.0.0.0/0"], [{"IPProtocol": "icmp"}]),
    "default-allow-internal": (["10.128.0.0/9"], [{"IPProtocol": "all"}]),
    "default-allow-ssh": (["0.0.0.0/0"], [{"IPProtocol": "tcp", "ports": ["22"]}]),
}
"""The rules that each project's default network has at first."""
_TAG = r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
MOST_RANGES = 5000
MOST_SOURCE_TAGS, MOST_TARGET_TAGS = 30, 70
"""Of one rule ("VPC quotas and limits")."""


@dataclass
class Firewalls:
    """All firewall rules of the project, by name."""

    gce: Gce
    all: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (ranges, allowed) in _DEFAULT.items():
            self.add(name, sourceRanges=ranges, allowed=allowed)

    def add(self, name: str, **fields: Any) -> dict[str, Any]:
        """Add a rule, by default for the default network, with its fields as in the API."""
        self.all[name] = self._new(**fields, name=name)
        return self.all[name]

    def _new(self, **fields: Any) -> dict[str, Any]:
        return {
            "kind": "compute#firewall",
            "id": self.gce.new_id(),
            "creationTimestamp": self.gce.timeline.timestamp(),
            "selfLink": self.gce.link(f"global/firewalls/{fields['name']}"),
            "network": self.gce.link("global/networks/default"),
            "priority": 1000,
            "direction": "INGRESS",
            "disabled": False,
            "logConfig": {"enable": False},
            **fields,
        }

    @implements("firewalls.list")
    def list(self, call: Call) -> Any:
        found = [
            rule
            for name, rule in sorted(self.all.items())
            if f"/projects/{call.project}/" in rule["network"]
            and not self.gce.chance.hides("listed", name)
        ]
        return one_page(call, "compute#firewallList", found, self.gce.link("global/firewalls"))

    @implements("firewalls.get")
    def get(self, call: Call) -> Any:
        return self._find(call)

    @implements("firewalls.insert")
    def insert(self, call: Call) -> Any:
        name = call.body["name"]
        path = f"global/firewalls/{name}"
        rule = {**call.body}
        self._check(rule, call.project)
        if name in self.all:
            raise already_exists(f"projects/{call.project}/{path}")
        if len(self.all) >= self.gce.quotas.limit("", "FIREWALLS"):
            limit = self.gce.quotas.limit("", "FIREWALLS")
            text = f"Quota 'FIREWALLS' exceeded.  Limit: {limit:.1f} globally."
            raise GceError(403, "quotaExceeded", text)
        added = self._new(**rule)

        def start() -> None:
            self.all[name] = added
            self.gce.chance.born("listed", name)

        return self.gce.operations.begin(
            call, "global", "insert", path, target_id=added["id"], start=start
        )

    @implements("firewalls.patch")
    def patch(self, call: Call) -> Any:
        rule = self._find(call)
        changed = {**rule, **call.body}
        self._check(changed, call.project)
        path = f"global/firewalls/{call.firewall}"
        return self.gce.operations.begin(
            call,
            "global",
            "patch",
            path,
            target_id=rule["id"],
            finish=lambda: rule.update(changed),
        )

    @implements("firewalls.delete")
    def delete(self, call: Call) -> Any:
        rule = self._find(call)
        path = f"global/firewalls/{call.firewall}"
        return self.gce.operations.begin(
            call,
            "global",
            "delete",
            path,
            target_id=rule["id"],
            finish=lambda: self._remove(call.firewall),
        )

    def _remove(self, name: str) -> None:
        self.all.pop(name, None)

    def _find(self, call: Call) -> dict[str, Any]:
        path = f"projects/{call.project}/global/firewalls/{call.firewall}"
        rule = self.all.get(call.firewall)
        if rule is None or f"/projects/{call.project}/" not in rule["network"]:
            raise not_found(path)
        return rule

    def _check(self, rule: dict[str, Any], project: str) -> None:
        network = rule.setdefault("network", self.gce.link("global/networks/default"))
        name = self.gce.networks.find(self.gce.relative(network))
        if not name or self.gce.networks.project_of(name) != project:
            raise not_found(f"projects/{project}/{self.gce.relative(network)}")
        rule["network"] = self.gce.networks.link(name)
        if bool(rule.get("allowed")) == bool(rule.get("denied")):
            raise GceError(400, "invalid", "Exactly one of allowed and denied must be specified.")
        for entry in (*rule.get("allowed", ()), *rule.get("denied", ())):
            for port in entry.get("ports", ()):
                found = _PORTS.fullmatch(port)
                if found is None or int(found[2] or found[1]) > 65535:
                    raise invalid(
                        "resource.allowed[0].ports[0]", port, "Must be a port or a range."
                    )
        if not any(
            rule.get(key) for key in ("sourceRanges", "sourceTags", "sourceServiceAccounts")
        ):
            rule["sourceRanges"] = ["0.0.0.0/0"]
        for index, block in enumerate(rule.get("sourceRanges", ())):
            try:
                ipaddress.ip_network(block)
            except ValueError:
                why = "Invalid IPv4/IPv6 CIDR range."
                raise invalid(f"resource.sourceRanges[{index}]", block, why) from None
        for key, most in (("sourceTags", MOST_SOURCE_TAGS), ("targetTags", MOST_TARGET_TAGS)):
            tags = rule.get(key, ())
            if len(tags) > most:
                raise invalid(f"resource.{key}", len(tags), f"At most {most} are allowed.")
            for index, tag in enumerate(tags):
                if not re.fullmatch(_TAG, tag):
                    why = f"Must be a match of regex '(?:{_TAG})'"
                    raise invalid(f"resource.{key}[{index}]", tag, why)
        if len(rule.get("sourceRanges", ())) > MOST_RANGES:
            raise invalid("resource.sourceRanges", "…", f"At most {MOST_RANGES} are allowed.")
