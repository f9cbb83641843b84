"""Azure Policy: what the subscription's assignments forbid; by default nothing.

The answers are those that users have shown; each source is beside it. Neither the list of resource
SKUs nor the usages know of policies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import SUBSCRIPTION, Call, implements
from tests.support.azure.errors import ArmError

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

ALLOWED_LOCATIONS = "e56962a6-4747-49cd-b67b-bf8b01975c4c"
ALLOWED_SIZES = "cccc23c7-8427-4f53-ad12-b6a63eb452b3"
REQUIRED_TAG = "871b6d14-10aa-478d-b590-94f262ecfa99"
NO_PUBLIC_ADDRESSES = "83a86a26-fd1f-447c-b59d-e51f44264114"
AZURES_LOCATIONS = "b86dabb9-b578-4d7b-b842-3b45e95769a1"
"""Definitions that Azure has built in: 'Allowed locations', 'Allowed virtual machine size SKUs',
'Require a tag on resources', 'Network interfaces should not have public IPs', and 'Allowed resource
deployment regions', which Azure itself assigns as sys.regionrestriction."""
_FIELDS = {"properties.hardwareProfile.vmSize": "Microsoft.Compute/virtualMachines/sku.name"}
"""What rules call a field, where that is not its path (Azure/karpenter-provider-azure#794)."""
_BUILT_IN = "/providers/Microsoft.Authorization/policyDefinitions/"


@dataclass
class Policies:
    """What is assigned; a test may change it."""

    arm: Arm
    allowed_locations: tuple[str, ...] = ()
    """All, if empty."""
    allowed_sizes: tuple[str, ...] = ()
    required_tags: tuple[str, ...] = ()
    forbids_public_addresses: bool = False
    is_of_azure: bool = False
    """Whether Azure itself restricts the locations, as of students (Azure/azure-cli#32913)."""
    can_be_listed: bool = True
    """Whether the caller may see assignments; readers of the subscription may."""
    evaluated: list[str] = field(default_factory=list)
    """The types that were checked."""

    def check(self, call: Call) -> None:
        """Refuse a call that would make what a policy forbids."""
        if call.verb not in ("PUT", "PATCH") or "/providers/" not in call.path:
            return
        if call.provider not in ("Microsoft.Compute", "Microsoft.Network"):
            return
        parts = call.path.strip("/").split("/")
        if len(parts) != 8:
            return  # a subnet, which has neither location nor tags
        type, name = "/".join(parts[5:7]), parts[-1]
        self.evaluated.append(type)
        self._check(type, name, call.body)

    def check_nics(self, vm: Mapping[str, Any]) -> None:
        """Refuse interfaces and addresses of a VM that it has made, as they are made for it."""
        for reference in vm["properties"]["networkProfile"]["networkInterfaces"]:
            nic = self.arm.resources.find(reference["id"]) or {}
            self._check(self.arm.interfaces.type, nic["name"], nic)
            for ip in nic["properties"]["ipConfigurations"]:
                public = ip["properties"].get("publicIPAddress")
                address = self.arm.resources.find(public["id"]) if public else None
                if address:
                    self._check(self.arm.addresses.type, address["name"], address)

    def _check(self, type: str, name: str, body: Mapping[str, Any]) -> None:
        location = str(body.get("location", "")).replace(" ", "").lower()
        if self.allowed_locations and location and location not in self.allowed_locations:
            if self.is_of_azure:
                text = (  # Azure/azure-cli#32913
                    f"Resource '{name}' was disallowed by Azure: This policy maintains a set of "
                    "best available regions where your subscription can deploy resources. The "
                    "objective of this policy is to ensure that your subscription has full access "
                    "to Azure services with optimal performance. Should you need additional or "
                    "different regions, contact support.."
                )
                raise ArmError(403, "RequestDisallowedByAzure", text, name)
            raise self._refusal(name, "Allowed locations", ALLOWED_LOCATIONS, "location")
        missing = [tag for tag in self.required_tags if tag not in body.get("tags", {})]
        if missing:
            path = f"tags[{missing[0]}]"
            raise self._refusal(name, "Require a tag on resources", REQUIRED_TAG, path)
        size = body.get("properties", {}).get("hardwareProfile", {}).get("vmSize", "")
        if self.allowed_sizes and size and size not in self.allowed_sizes:
            path = "properties.hardwareProfile.vmSize"
            raise self._refusal(name, "Allowed virtual machine size SKUs", ALLOWED_SIZES, path)
        if self.forbids_public_addresses and type.endswith("networkInterfaces"):
            ips = body["properties"].get("ipConfigurations", ())
            if any(ip["properties"].get("publicIPAddress") for ip in ips):
                words = "Network interfaces should not have public IPs"
                path = "properties.ipConfigurations[*].properties.publicIPAddress.id"
                raise self._refusal(name, words, NO_PUBLIC_ADDRESSES, path)

    def _refusal(self, name: str, words: str, definition: str, path: str) -> ArmError:
        """Return what Azure/azure-cli#32417, karpenter-provider-azure#794 and others show.

        ``path`` is the field that the policy's rule looked at.
        """
        assignment = f"/subscriptions/{self.arm.subscription}/providers/Microsoft.Authorization"
        assignment += f"/policyAssignments/{definition[:8]}"
        identifiers = [
            {
                "policyAssignment": {"name": words, "id": assignment},
                "policyDefinition": {
                    "name": words,
                    "id": _BUILT_IN + definition,
                    "version": "1.0.0",
                },
            }
        ]
        field = _FIELDS.get(path, path)
        evaluated = {
            "result": "False" if "Allowed" in words else "True",
            "expressionKind": "Field",
            "expression": field,
            "path": path,
            "operator": "In" if "Allowed" in words else "Exists",
        }
        info = {
            "evaluationDetails": {"evaluatedExpressions": [evaluated]},
            "policyDefinitionDisplayName": words,
            "policyDefinitionId": _BUILT_IN + definition,
            "policyDefinitionName": definition,
            "policyDefinitionEffect": "deny",
            "policyAssignmentId": assignment,
            "policyAssignmentName": definition[:8],
            "policyAssignmentDisplayName": words,
            "policyAssignmentScope": f"/subscriptions/{self.arm.subscription}",
        }
        text = (
            f"Resource '{name}' was disallowed by policy. Policy identifiers: "
            f"'{json.dumps(identifiers, separators=(',', ':'))}'."
        )
        more = [{"type": "PolicyViolation", "info": info}]
        return ArmError(403, "RequestDisallowedByPolicy", text, name, additional_info=more)

    @implements(
        "policy_assignments.list",
        "GET",
        f"{SUBSCRIPTION}/providers/Microsoft.Authorization/policyAssignments",
        query=("$filter", "$top"),
    )
    def list(self, call: Call) -> Any:
        """Answer the assignments, with the parameters that say what is allowed."""
        if not self.can_be_listed:
            text = (
                f"The client '{call.user.name}' with object id '{call.user.id}' does not have "
                "authorization to perform action "
                "'Microsoft.Authorization/policyAssignments/read' over scope "
                f"'/subscriptions/{call.subscription}' or the scope is invalid. If access was "
                "recently granted, please refresh your credentials."
            )
            raise ArmError(403, "AuthorizationFailed", text)
        found = []
        if self.allowed_locations:
            of: dict[str, Any] = {"listOfAllowedLocations": {"value": [*self.allowed_locations]}}
            words, definition = "Allowed locations", ALLOWED_LOCATIONS
            if self.is_of_azure:
                words, definition = "Allowed resource deployment regions", AZURES_LOCATIONS
            found.append(self._assignment(call, words, definition, of))
        if self.allowed_sizes:
            of = {"listOfAllowedSKUs": {"value": [*self.allowed_sizes]}}
            found.append(self._assignment(call, "Allowed sizes", ALLOWED_SIZES, of))
        for tag in self.required_tags:
            of = {"tagName": {"value": tag}}
            found.append(self._assignment(call, f"Require {tag}", REQUIRED_TAG, of))
        if self.forbids_public_addresses:
            found.append(self._assignment(call, "No public IPs", NO_PUBLIC_ADDRESSES, {}))
        return self.arm.page(call, found)

    def _assignment(
        self, call: Call, words: str, definition: str, parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        name = definition[:8]
        return {
            "id": f"{call.path}/{name}",
            "name": name,
            "type": "Microsoft.Authorization/policyAssignments",
            "properties": {
                "displayName": words,
                "scope": f"/subscriptions/{call.subscription}",
                "enforcementMode": "Default",
                "policyDefinitionId": _BUILT_IN + definition,
                "parameters": dict(parameters),
            },
        }
