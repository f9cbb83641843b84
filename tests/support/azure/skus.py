"""The list of resource SKUs: what is sold where, and what of it this subscription can't have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import SUBSCRIPTION, Call, implements
from tests.support.azure.errors import ArmError
from tests.support.azure.places import LOCATIONS, WITHOUT_ZONES
from tests.support.azure.sizes import SIZES, Size, capabilities_of

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

_FILTER = re.compile(r"location eq '([A-Za-z0-9 ]+)'")
DISK_TYPES = {
    "Standard_LRS": ("S", 32767),
    "StandardSSD_LRS": ("E", 32767),
    "StandardSSD_ZRS": ("E", 32767),
    "Premium_LRS": ("P", 32767),
    "Premium_ZRS": ("P", 32767),
    "PremiumV2_LRS": ("P", 65536),
    "UltraSSD_LRS": ("U", 65536),
}
"""Types of disks, and how many GB one has at most ("Azure managed disk types")."""


@dataclass
class Skus:
    """What the list says; a test may change it."""

    arm: Arm
    sizes: dict[str, Size] = field(default_factory=lambda: dict(SIZES))
    restricted: dict[tuple[str, str], str] = field(default_factory=dict)
    """(size, location) pairs that this subscription can't have, and the reason:
    ``NotAvailableForSubscription``, or ``QuotaId`` of a subscription of another kind."""
    restricted_zones: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """Zones that it can't have, by (size, location); without a zone the size can be had."""

    def offers(self, size: str, location: str) -> Size | None:
        """Return a size, if it is sold in a location."""
        for of in self.sizes.values():
            if of.name.lower() == size.lower() and location in of.locations:
                return of
        return None

    def is_restricted(self, size: str, location: str, zones: tuple[str, ...] = ()) -> bool:
        """Whether this subscription can't have a size in a location, or in these zones."""
        closed = self.restricted_zones.get((size, location), ())
        return (size, location) in self.restricted or any(zone in closed for zone in zones)

    @implements(
        "resource_skus.list",
        "GET",
        f"{SUBSCRIPTION}/providers/Microsoft.Compute/skus",
        answer="compute.ResourceSku[]",
        query=("$filter", "includeExtendedLocations"),
    )
    def list(self, call: Call) -> Any:
        locations = [*LOCATIONS]
        if text := call.query.get("$filter", ""):
            found = _FILTER.fullmatch(text)
            if found is None:  # "Only **location** filter is supported currently" (the SDK)
                raise ArmError(400, "InvalidFilter", f"The filter '{text}' is not supported.")
            locations = [found[1].replace(" ", "").lower()]
        # No `nextLink`: the real list has one page of some megabytes for a location.
        return {"value": [sku for place in locations for sku in self._skus(place)]}

    def _skus(self, location: str) -> Iterator[dict[str, Any]]:
        if location not in LOCATIONS:
            return
        for size in self.sizes.values():
            is_sold = location in size.locations
            if is_sold or (size.name, location) in self.restricted or not _sells_any(location):
                yield self._size(size, location, is_sold=is_sold)
        for name, (letter, most) in DISK_TYPES.items():
            yield {
                "resourceType": "disks",
                "name": name,
                "tier": name.partition("_")[0],
                "size": f"{letter}10",
                "locations": [location],
                "locationInfo": [{"location": location, "zones": [], "zoneDetails": []}],
                "capabilities": [{"name": "MaxSizeGiB", "value": str(most)}],
                "restrictions": [],
            }

    def _size(self, size: Size, location: str, *, is_sold: bool) -> dict[str, Any]:
        zones = [*size.zones_in(location)]
        restrictions = []
        reason = self.restricted.get((size.name, location))
        if reason or not is_sold:
            restrictions.append(_restriction("Location", location, reason))
        closed = self.restricted_zones.get((size.name, location), ())
        if closed or (restrictions and zones):
            restrictions.append(_restriction("Zone", location, reason, [*closed] or zones))
        return {
            "resourceType": "virtualMachines",
            "name": size.name,
            "tier": "Standard",
            "size": size.name.removeprefix("Standard_"),
            "family": size.family,
            "locations": [location],
            "locationInfo": [{"location": location, "zones": zones, "zoneDetails": []}],
            "capabilities": capabilities_of(size),
            "restrictions": restrictions,
        }


def _sells_any(location: str) -> bool:
    return any(location in size.locations for size in SIZES.values())


def _restriction(
    kind: str, location: str, reason: str | None, zones: list[str] | None = None
) -> dict[str, Any]:
    info: dict[str, Any] = {"locations": [location]}
    if zones and location not in WITHOUT_ZONES:
        info["zones"] = zones
    return {
        "type": kind,
        "values": [location],
        "restrictionInfo": info,
        "reasonCode": reason or "NotAvailableForSubscription",
    }
