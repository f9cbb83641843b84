"""Quotas of a location: what the lists of usages tell, and which one a VM or an address exceeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import SUBSCRIPTION, Call, implements
from tests.support.azure.capacity import is_spot, size_of
from tests.support.azure.errors import ArmError
from tests.support.azure.places import LOCATIONS
from tests.support.azure.sizes import SIZES

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

FAMILIES = sorted({size.family for size in SIZES.values()})
DEFAULTS = {
    "availabilitySets": 2500.0,
    "cores": 100.0,
    "virtualMachines": 25000.0,
    "lowPriorityCores": 100.0,
    **dict.fromkeys(FAMILIES, 100.0),
}
"""What subscriptions have that have been used for a while, of Microsoft.Compute."""
STUDENT = {
    "cores": 6.0,
    "lowPriorityCores": 3.0,
    **dict.fromkeys((family for family in FAMILIES if "v5" in family or "v6" in family), 0.0),
}
"""What Azure for Students allows, by what others have read of theirs: no series of today but B."""
NETWORK_DEFAULTS = {
    "VirtualNetworks": 1000.0,
    "NetworkSecurityGroups": 5000.0,
    "NetworkInterfaces": 65536.0,
    "StaticPublicIPAddresses": 1000.0,
    "PublicIPAddresses": 1000.0,
    "IPv4StandardSkuPublicIpAddresses": 1000.0,
}
_NAMES = {
    "availabilitySets": "Availability Sets",
    "cores": "Total Regional vCPUs",
    "virtualMachines": "Virtual Machines",
    "lowPriorityCores": "Total Regional Spot vCPUs",
    "VirtualNetworks": "Virtual Networks",
    "NetworkSecurityGroups": "Network Security Groups",
    "NetworkInterfaces": "Network Interfaces",
    "StaticPublicIPAddresses": "Static Public IP Addresses",
    "PublicIPAddresses": "Public IP Addresses",
    "IPv4StandardSkuPublicIpAddresses": "Public IPv4 Addresses - Standard",
}
_IN_WORDS = {"cores": "Total Regional Cores", "lowPriorityCores": "LowPriorityCores"}
_ADDRESS = "Microsoft.Network/publicIPAddresses"
_OF_TYPE = {
    "VirtualNetworks": "Microsoft.Network/virtualNetworks",
    "NetworkSecurityGroups": "Microsoft.Network/networkSecurityGroups",
    "NetworkInterfaces": "Microsoft.Network/networkInterfaces",
    "StaticPublicIPAddresses": _ADDRESS,
    "PublicIPAddresses": _ADDRESS,
    "IPv4StandardSkuPublicIpAddresses": _ADDRESS,
}


@dataclass
class Quotas:
    """Limits, by name, in all locations alike; a test may change them."""

    arm: Arm
    limits: dict[str, float] = field(default_factory=lambda: {**DEFAULTS, **NETWORK_DEFAULTS})
    has_new_code: bool | None = None
    """Whether the code is ``QuotaExceeded``, as it sometimes is, and not ``OperationNotAllowed``;
    at random if None."""

    def check_vm(self, vm: Mapping[str, Any]) -> None:
        """Refuse a VM that exceeds a quota; raises `ArmError`."""
        used = self._cores_used(vm["location"])
        for name, cores in _needs(vm):
            limit = self.limits.get(name, 0.0)
            if used[name] + cores > limit:
                raise self._exceeded(name, vm["location"], limit, used[name], cores)

    def check_address(self, location: str) -> None:
        """Refuse one more public address (MicrosoftDocs/azure-docs#106096)."""
        used = self._network_used(location)
        for name, code in (
            ("StaticPublicIPAddresses", "StaticPublicIPCountLimitReached"),
            ("PublicIPAddresses", "PublicIPCountLimitReached"),
            ("IPv4StandardSkuPublicIpAddresses", "IPv4StandardSkuPublicIpCountLimitReached"),
        ):
            if used[name] + 1 > self.limits[name]:
                # giantswarm/azure-operator#163 has the words for static ones
                how = " with static allocation method" if name.startswith("Static") else ""
                text = (
                    f"Cannot create more than {self.limits[name]:.0f} public IP addresses{how} for "
                    "this subscription in this region."
                )
                raise ArmError(400, code, text)

    @implements(
        "usage.list",
        "GET",
        f"{SUBSCRIPTION}/providers/Microsoft.Compute/locations/{{location}}/usages",
        answer="compute.Usage[]",
    )
    def list(self, call: Call) -> Any:
        self._check_location(call.location)
        used = self._cores_used(call.location)
        return self.arm.page(
            call,
            [
                {**_usage(name, self.limits[name], used[name]), "unit": "Count"}
                for name in self.limits
                if name not in NETWORK_DEFAULTS
            ],
        )

    @implements(
        "usages.list",
        "GET",
        f"{SUBSCRIPTION}/providers/Microsoft.Network/locations/{{location}}/usages",
        answer="network.Usage[]",
    )
    def list_network(self, call: Call) -> Any:
        self._check_location(call.location)
        used = self._network_used(call.location)
        return self.arm.page(
            call,
            [
                {
                    **_usage(name, self.limits[name], used[name]),
                    "unit": "Count",
                    "id": f"{call.path}/{name}",
                }
                for name in NETWORK_DEFAULTS
            ],
        )

    def _check_location(self, location: str) -> None:
        if location.lower() not in LOCATIONS:
            text = (
                f"The provided location '{location}' is not available for resource type "
                f"'locations/usages'. List of available regions is '{','.join(LOCATIONS)}'."
            )
            raise ArmError(400, "NoRegisteredProviderFound", text)

    def _cores_used(self, location: str) -> Counter[str]:
        used: Counter[str] = Counter()
        for vm in self.arm.vms.all.values():
            document = vm.document
            if document["location"] == location:
                used.update({"virtualMachines": 1})
                used.update({name: int(cores) for name, cores in _needs(document)})
        return used

    def _network_used(self, location: str) -> Counter[str]:
        return Counter(
            {
                name: sum(of["location"] == location for of in self.arm.resources.of_type(type))
                for name, type in _OF_TYPE.items()
            }
        )

    def _exceeded(
        self, name: str, location: str, limit: float, used: float, needed: float
    ) -> ArmError:
        # The words are of hashicorp/terraform-provider-azurerm's test logs of 2026; karpenter has
        # those of families and spot.
        what = _IN_WORDS.get(name) or f"{name} Cores"
        if name not in _IN_WORDS and not name.lower().endswith("family"):
            what = f"{name} Family Cores"
        text = (
            f"Operation could not be completed as it results in exceeding approved {what} quota. "
            f"Additional details - Deployment Model: Resource Manager, Location: {location}, "
            f"Current Limit: {limit:.0f}, Current Usage: {used:.0f}, Additional Required: "
            f"{needed:.0f}, (Minimum) New Limit Required: {used + needed:.0f}. Setup Alerts when "
            "Quota reaches threshold. Learn more at https://aka.ms/quotamonitoringalerting . "
            "Submit a request for Quota increase at https://aka.ms/ProdportalCRP/#blade/"
            "Microsoft_Azure_Capacity/UsageAndQuota.ReactView/Parameters/… by specifying "
            "parameters listed in the ‘Details’ section for deployment to succeed. Please read "
            "more about quota limits at "
            "https://docs.microsoft.com/en-us/azure/azure-supportability/regional-quota-requests"
        )
        is_new = self.has_new_code
        if is_new is None:
            is_new = self.arm.chance.of("the newer code of quotas", 0.3)
        return ArmError(409, "QuotaExceeded" if is_new else "OperationNotAllowed", text)


def _needs(vm: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield of which quotas a VM takes how much.

    Spot VMs take of their own only ("Spot Virtual Machines": "separate quota pool").
    """
    size = SIZES[size_of(vm)]
    if is_spot(vm):
        yield "lowPriorityCores", float(size.vcpus)
        return
    yield "cores", float(size.vcpus)
    yield size.family, float(size.vcpus)


def _usage(name: str, limit: float, used: float) -> dict[str, Any]:
    words = _NAMES.get(name) or f"{_family_in_words(name)} vCPUs"
    # Families are not always in the letters that resource SKUs have ("Check vCPU quotas").
    value = name[0].lower() + name[1:] if name.startswith("Standard") and " " not in name else name
    return {
        "limit": int(limit),
        "currentValue": int(used),
        "name": {"value": value, "localizedValue": words},
    }


def _family_in_words(name: str) -> str:
    if " " in name:
        return name
    return f"Standard {name[8:].removesuffix('Family')} Family"
