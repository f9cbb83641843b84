"""Where a session's VMs are: a subscription, a location, a resource group, and zones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bigmachine.cloud import nearest_name
from bigmachine.errors import UsageError

from ..options._option_formats import location_name
from ..options._options import AzureOptions
from ._api import Api
from ._az_cli import az_default
from ._errors import AzureError

_LOCATIONS_VERSION = "2022-12-01"
GROUPS_VERSION = "2024-03-01"
"""The API version of requests for resource groups."""


@dataclass(frozen=True, slots=True)
class Place:
    """One location of one subscription, with the resource group for what a session creates."""

    subscription: str
    """Its ID."""
    location: str
    """Like ``westeurope``."""
    resource_group: str
    has_group: bool
    """Whether that exists already."""
    zones: tuple[str, ...]
    """The requested availability zones, in order of preference; empty: Azure chooses."""


async def find_place(api: Api, o: AzureOptions) -> Place:
    """Find where VMs go, by the options and az's defaults, and ask Azure for it.

    Raises `UsageError` if there is no location, or if Azure has no such location or zone, and
    `AzureError`.
    """
    await api.open()  # missing credentials are reported first
    location = o.requested_location or location_name(az_default("location"))
    group = await _group(api, o.resource_group) if o.resource_group else None
    if not location and group is not None:
        location = location_name(group["location"])
    if not location:
        raise UsageError(
            "location: set neither by the option nor by az's configuration; pass one, like "
            "location='westeurope', or run `az config set defaults.location=westeurope`"
        )
    await _check_location(api, location, o.zone_names)
    name = o.resource_group or f"bigmachine-{location}"
    if group is None and not o.resource_group:
        group = await _group(api, name)
    api.resource_group = name
    return Place(api.subscription, location, name, group is not None, o.zone_names)


async def _group(api: Api, name: str) -> dict[str, Any] | None:
    """Return a resource group; None if it does not exist."""
    try:
        return await api.request("GET", f"resourceGroups/{name}", api_version=GROUPS_VERSION)
    except AzureError as error:
        if error.is_not_found:
            return None
        raise


async def _check_location(api: Api, location: str, zones: tuple[str, ...]) -> None:
    try:
        listed = await api.request_all("locations", api_version=_LOCATIONS_VERSION)
    except AzureError as error:
        if error.is_denied:  # with a role on the resource group alone
            return
        raise
    found = {item["name"]: item for item in listed if _is_region(item)}
    if location not in found:
        raise UsageError(
            f"location: Azure has no location {location!r} for this subscription; "
            f"{nearest_name(location, found, example='westeurope')} List all with `az account "
            f"list-locations --output table`"
        )
    mappings = found[location].get("availabilityZoneMappings") or []
    known = sorted(str(mapping["logicalZone"]) for mapping in mappings)
    unknown = [zone for zone in zones if zone not in known]
    if unknown:
        has = f"has the zones {', '.join(known)}" if known else "has none: omit zones"
        raise UsageError(f"zones: the location {location!r} has no zone {unknown[0]!r}; it {has}")


def _is_region(item: dict[str, Any]) -> bool:
    """Whether VMs can be there: `Logical` locations are groups, such as ``europe``."""
    return bool((item.get("metadata") or {}).get("regionType") != "Logical")
