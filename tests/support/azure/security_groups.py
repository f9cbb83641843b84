"""Network security groups and their rules, and application security groups."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tests.support.azure.calls import Call
from tests.support.azure.errors import ArmError, invalid_reference
from tests.support.azure.resources import Document, ResourceType, new_etag

SERVICE_TAGS = {"VirtualNetwork", "Internet", "AzureLoadBalancer", "AzureCloud", "Storage"}
"""Some of those that a rule may have for addresses."""
_DEFAULT_RULES = (
    # name, priority, access, direction, source, destination
    ("AllowVnetInBound", 65000, "Allow", "Inbound", "VirtualNetwork", "VirtualNetwork"),
    ("AllowAzureLoadBalancerInBound", 65001, "Allow", "Inbound", "AzureLoadBalancer", "*"),
    ("DenyAllInBound", 65500, "Deny", "Inbound", "*", "*"),
    ("AllowVnetOutBound", 65000, "Allow", "Outbound", "VirtualNetwork", "VirtualNetwork"),
    ("AllowInternetOutBound", 65001, "Allow", "Outbound", "*", "Internet"),
    ("DenyAllOutBound", 65500, "Deny", "Outbound", "*", "*"),
)


class ApplicationSecurityGroups(ResourceType):
    """Groups of network interfaces, which rules may name instead of addresses."""

    operations = "application_security_groups"
    type = "Microsoft.Network/applicationSecurityGroups"
    model = "network.ApplicationSecurityGroup"

    def check_delete(self, document: Document) -> None:
        for nic in self.arm.interfaces.all():
            for configuration in nic["properties"]["ipConfigurations"]:
                groups = configuration["properties"].get("applicationSecurityGroups", ())
                if any(of["id"].lower() == document["id"].lower() for of in groups):
                    raise ArmError(
                        400,
                        "InUseApplicationSecurityGroupCannotBeDeleted",
                        f"Application Security Group {document['name']} cannot be deleted because "
                        f"it is referenced by IpConfiguration(s) {configuration['name']}.",
                    )


class SecurityGroups(ResourceType):
    """Network security groups."""

    operations = "network_security_groups"
    type = "Microsoft.Network/networkSecurityGroups"
    model = "network.NetworkSecurityGroup"

    def rules_of(self, id: str) -> list[dict[str, Any]]:
        """Return the rules of one, with their names, for tests."""
        document = self.arm.resources.find(id)
        rules = document["properties"]["securityRules"] if document else []
        return [{"name": of["name"], **of["properties"]} for of in rules]

    def check(self, call: Call, new: Document, old: Document | None) -> None:
        seen: dict[tuple[str, int], str] = {}
        for rule in new["properties"].get("securityRules", ()):
            name, properties = rule.get("name", ""), rule.get("properties", {})
            for problem in _problems(name, properties):
                raise problem
            key = properties["direction"], properties["priority"]
            if key in seen:
                raise ArmError(
                    400,
                    "SecurityRuleConflict",
                    f"Security rule {name} conflicts with rule {seen[key]}. Rules cannot have the "
                    "same Priority and Direction. To learn more, see aka.ms/nsgrules.",
                )
            seen[key] = name
            for side in ("source", "destination"):
                for group in properties.get(f"{side}ApplicationSecurityGroups", ()):
                    if self.arm.resources.find(group["id"]) is None:
                        raise invalid_reference(group["id"], new["id"])

    def complete(self, call: Call, new: Document, old: Document | None) -> None:
        properties = new["properties"]
        properties["securityRules"] = [
            self._rule(new["id"], "securityRules", of["name"], of["properties"])
            for of in properties.get("securityRules", ())
        ]
        properties["defaultSecurityRules"] = [
            self._rule(
                new["id"],
                "defaultSecurityRules",
                name,
                {
                    "protocol": "*",
                    "sourcePortRange": "*",
                    "destinationPortRange": "*",
                    "sourceAddressPrefix": source,
                    "destinationAddressPrefix": destination,
                    "access": access,
                    "priority": priority,
                    "direction": direction,
                },
            )
            for name, priority, access, direction, source, destination in _DEFAULT_RULES
        ]

    def view(self, document: Document) -> Document:
        properties = dict(document["properties"])
        if nics := [*self._interfaces(document)]:
            properties["networkInterfaces"] = [{"id": nic["id"]} for nic in nics]
        if subnets := [*self._subnets(document)]:
            properties["subnets"] = [{"id": of["id"]} for of in subnets]
        return {**document, "properties": properties}

    def check_delete(self, document: Document) -> None:
        users = [of["id"] for of in (*self._interfaces(document), *self._subnets(document))]
        if users:
            raise ArmError(
                400,
                "InUseNetworkSecurityGroupCannotBeDeleted",
                f"Network security group {document['id']} cannot be deleted because it is in use "
                f"by the following resources: {', '.join(users)}. In order to delete the Network "
                "security group, remove the association with the resource(s).",
            )

    def _interfaces(self, document: Document) -> Iterator[Document]:
        for nic in self.arm.interfaces.all():
            group = nic["properties"].get("networkSecurityGroup", {})
            if group.get("id", "").lower() == document["id"].lower():
                yield nic

    def _subnets(self, document: Document) -> Iterator[Document]:
        for subnet in self.arm.networks.subnets():
            group = subnet["properties"].get("networkSecurityGroup", {})
            if group.get("id", "").lower() == document["id"].lower():
                yield subnet

    def _rule(self, group: str, kind: str, name: str, properties: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": name,
            "id": f"{group}/{kind}/{name}",
            "etag": new_etag(),
            "type": f"{self.type}/{kind}",
            "properties": {"provisioningState": "Succeeded", **properties},
        }


def _problems(name: str, rule: dict[str, Any]) -> Iterator[ArmError]:
    """Yield what Azure would refuse of a rule; codes as users have shown them."""
    if not name:
        yield ArmError(400, "InvalidRequestFormat", "A security rule has no name.")
    if not 100 <= rule.get("priority", 0) <= 4096:
        # Required, although the model does not say so (Azure/azure-rest-api-specs#22448).
        yield ArmError(
            400,
            "SecurityRuleInvalidPriority",
            f"Security rule has invalid priority. Priority specified: {rule.get('priority', 0)}. "
            "Priority should be between 100 and 4096.",
        )
    for side in ("source", "destination"):
        one, many = rule.get(f"{side}AddressPrefix"), rule.get(f"{side}AddressPrefixes")
        if not (one or many or rule.get(f"{side}ApplicationSecurityGroups")):
            yield _missing(name, f"{side}AddressPrefix")
        if one and not (one == "*" or one in SERVICE_TAGS or _is_prefix(one)):
            yield _bad_prefix(name, one)
        yield from _problems_of_list(name, side, many or ())
        ports = rule.get(f"{side}PortRanges") or [rule.get(f"{side}PortRange") or ""]
        for port in ports:
            if not port:
                yield _missing(name, f"{side}PortRange")
            elif not _is_port_range(port):
                yield ArmError(
                    400,
                    "SecurityRuleInvalidPortRange",
                    f"Security rule has invalid Port range. Value provided: {port}. Value should "
                    "be an integer OR integer range with '-' delimiter. Valid range 0-65535.",
                )


def _problems_of_list(name: str, side: str, prefixes: Sequence[str]) -> Iterator[ArmError]:
    """Yield what Azure would refuse of several prefixes in one rule."""
    parameter = f"{side.title()}AddressPrefixes"
    for prefix in prefixes:
        if prefix == "*" or prefix in SERVICE_TAGS:
            # hashicorp/terraform-provider-azurerm#5617
            yield ArmError(
                400,
                "SecurityRuleParameterContainsUnsupportedValue",
                f"Security rule parameter {parameter} for rule with Id {name} cannot specify "
                "existing VIRTUALNETWORK, INTERNET, AZURELOADBALANCER, '*' or system tags. "
                f"Unsupported value used: {prefix}.",
            )
        elif not _is_prefix(prefix):
            yield _bad_prefix(name, prefix)
    blocks = [ipaddress.ip_network(of) for of in prefixes if _is_prefix(of)]
    if len({of.version for of in blocks}) > 1:
        # gardener/gardener-extension-provider-azure#397
        yield ArmError(
            400,
            "ResourceCannotContainAddressPrefixesFromDifferentAddressFamilies",
            f"Resource {name} contains IP addresses or prefixes that belong to different address "
            "families. All IP addresses or prefixes in the resource should belong to the same "
            "address family.",
        )
    elif any(one.overlaps(other) for one, other in itertools.combinations(blocks, 2)):
        # kubernetes-sigs/cloud-provider-azure#6775
        yield ArmError(
            400,
            "OverlappingSubnetsNotPermittedInSecurityRule",
            f"Security rule parameter {parameter} for rule with Id {name} cannot specify "
            "overlapping subnets.",
        )


def _missing(name: str, field: str) -> ArmError:
    text = f"Required security rule parameters are missing for security rule with Id: {name}. "
    return ArmError(
        400, "SecurityRuleParameterMissing", f"{text}Security rule must specify {field}."
    )


def _bad_prefix(name: str, prefix: str) -> ArmError:
    return ArmError(
        400,
        "SecurityRuleInvalidAddressPrefix",
        f"Security rule {name} has invalid Address prefix. Value provided: {prefix}.",
    )


def _is_prefix(text: str) -> bool:
    try:
        ipaddress.ip_network(text)  # no address inside a block: Azure/azure-powershell#4557
    except ValueError:
        return False
    return True


def _is_port_range(text: str) -> bool:
    if text == "*":
        return True
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
    return bool(found) and int(found[1]) <= int(found[2] or found[1]) <= 65535
