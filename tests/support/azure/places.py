"""Subscriptions, their locations, and the resource providers that are registered in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import SUBSCRIPTION, Call, implements
from tests.support.azure.entra import TENANT
from tests.support.azure.errors import ArmError

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

LOCATIONS = {
    "westeurope": "West Europe",
    "northeurope": "North Europe",
    "eastus": "East US",
    "eastus2": "East US 2",
    "westus2": "West US 2",
    "westcentralus": "West Central US",
}
WITHOUT_ZONES = {"westcentralus"}
PROVIDERS = (
    "Microsoft.Compute",
    "Microsoft.Network",
    "Microsoft.ManagedIdentity",
    "Microsoft.DevTestLab",
    "Microsoft.Authorization",
    "Microsoft.Resources",
)
# "Azure resource providers and types": registered by default.
_ALWAYS_REGISTERED = {
    "Microsoft.Authorization",
    "Microsoft.MarketplaceOrdering",
    "Microsoft.Resources",
}


@dataclass
class Places:
    """Where things can be."""

    arm: Arm
    tenants: dict[str, str] = field(default_factory=dict)
    """The tenants of subscriptions, by id."""
    states: dict[str, str] = field(default_factory=dict)
    """``Enabled``, ``Disabled``, ``Warned``…, by subscription; ``Enabled`` if it is not there."""
    registrations: dict[str, str] = field(default_factory=dict)
    """``Registered``, ``NotRegistered`` or ``Registering``, by provider."""
    register_seconds: float = 0.05

    def __post_init__(self) -> None:
        self.tenants[self.arm.subscription] = TENANT
        self.registrations.update(dict.fromkeys(PROVIDERS, "Registered"))

    def check(self, location: str) -> str:
        """Return a location's name, however it was written; raises `ArmError` if there is none."""
        name = location.replace(" ", "").lower()
        if name not in LOCATIONS:
            text = (
                f"The provided location '{location}' is not available for resource group. List of "
                f"available regions is '{','.join(LOCATIONS)}'."
            )
            raise ArmError(400, "LocationNotAvailableForResourceGroup", text)
        return name

    def check_resource(
        self, type: str, new: Mapping[str, Any], old: Mapping[str, Any] | None, group: str
    ) -> str:
        """Return the name of the location that a resource is to be in; raises `ArmError`."""
        location = new.get("location", "")
        name = location.replace(" ", "").lower()
        if name not in LOCATIONS:
            text = (
                f"The provided location '{location}' is not available for resource type '{type}'. "
                f"List of available regions for the resource type is '{','.join(LOCATIONS)}'."
            )
            raise ArmError(400, "LocationNotAvailableForResourceType", text)
        if old and old["location"] != name:
            text = (
                f"The resource '{old['name']}' already exists in location '{old['location']}' in "
                f"resource group '{group}'. A resource with the same name cannot be created in "
                f"location '{name}'. Please select a new resource name."
            )
            raise ArmError(409, "InvalidResourceLocation", text)
        return name

    def check_call(self, call: Call) -> None:
        """Refuse a call in a subscription that can't be used, or of an unregistered provider."""
        tenant = self.tenants.get(call.subscription.lower())
        if not call.subscription:
            return
        if tenant is None:
            text = f"The subscription '{call.subscription}' could not be found."
            raise ArmError(404, "SubscriptionNotFound", text)
        self.arm.entra.check_tenant(call.user, call.subscription, tenant)
        state = self.states.get(call.subscription.lower(), "Enabled")
        if state != "Enabled" and call.verb != "GET":
            text = (
                f"The subscription '{call.subscription}' is disabled and therefore marked as read "
                "only. You cannot perform any write actions on this subscription until it is "
                "re-enabled."
            )
            raise ArmError(409, "ReadOnlyDisabledSubscription", text)
        if self.registrations.get(call.provider) != "Registered" and (
            call.provider not in _ALWAYS_REGISTERED
        ):
            text = (
                f"The subscription is not registered to use namespace '{call.provider}'. See "
                "https://aka.ms/rps-not-found for how to register subscriptions."
            )
            details = [
                {
                    "code": "MissingSubscriptionRegistration",
                    "target": call.provider,
                    "message": text,
                }
            ]
            raise ArmError(
                409, "MissingSubscriptionRegistration", text, call.provider, details=details
            )

    @implements(
        "subscriptions.list", "GET", "/subscriptions", answer="subscriptions.Subscription[]"
    )
    def list_subscriptions(self, call: Call) -> Any:
        mine = [id for id, tenant in self.tenants.items() if tenant == call.user.tenant]
        return self.arm.page(call, [self._subscription(id) for id in mine])

    @implements("subscriptions.get", "GET", SUBSCRIPTION, answer="subscriptions.Subscription")
    def get_subscription(self, call: Call) -> Any:
        return self._subscription(call.subscription.lower())

    @implements(
        "subscriptions.list_locations",
        "GET",
        f"{SUBSCRIPTION}/locations",
        answer="subscriptions.Location[]",
    )
    def list_locations(self, call: Call) -> Any:
        return {"value": [self._location(call.subscription, name) for name in LOCATIONS]}

    @implements(
        "providers.get",
        "GET",
        f"{SUBSCRIPTION}/providers/{{namespace}}",
        answer="resources.Provider",
    )
    def get_provider(self, call: Call) -> Any:
        return self._provider(call)

    @implements(
        "providers.register",
        "POST",
        f"{SUBSCRIPTION}/providers/{{namespace}}/register",
        body="resources.ProviderRegistrationRequest",
        answer="resources.Provider",
    )
    def register(self, call: Call) -> Any:
        name = self._provider(call)["namespace"]
        if self.registrations[name] != "Registered":
            self.registrations[name] = "Registering"
            self.arm.timeline.after(
                self.register_seconds, lambda: self.registrations.update({name: "Registered"})
            )
        return self._provider(call)

    def _provider(self, call: Call) -> dict[str, Any]:
        for name, state in self.registrations.items():
            if name.lower() == call.namespace.lower():
                return {
                    "id": f"/subscriptions/{call.subscription}/providers/{name}",
                    "namespace": name,
                    "registrationState": state,
                    "registrationPolicy": "RegistrationRequired",
                    "resourceTypes": [],
                }
        text = f"The resource namespace '{call.namespace}' is invalid."
        raise ArmError(404, "InvalidResourceNamespace", text)

    def _subscription(self, id: str) -> dict[str, Any]:
        return {
            "id": f"/subscriptions/{id}",
            "subscriptionId": id,
            "tenantId": self.tenants[id],
            "displayName": "bigmachine's tests",
            "state": self.states.get(id, "Enabled"),
            "authorizationSource": "RoleBased",
            "subscriptionPolicies": {
                "locationPlacementId": "Public_2014-09-01",
                "quotaId": "PayAsYouGo_2014-09-01",
                "spendingLimit": "Off",
            },
        }

    def _location(self, subscription: str, name: str) -> dict[str, Any]:
        location: dict[str, Any] = {
            "id": f"/subscriptions/{subscription}/locations/{name}",
            "name": name,
            "type": "Region",
            "displayName": LOCATIONS[name],
            "regionalDisplayName": LOCATIONS[name],
            "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
        }
        if name not in WITHOUT_ZONES:
            location["availabilityZoneMappings"] = [
                {"logicalZone": zone, "physicalZone": f"{name}-az{zone}"} for zone in "123"
            ]
        return location
