"""Where a session's instances are: a project, a region, and the zones to try."""

from __future__ import annotations

from dataclasses import dataclass

from bigmachine.cloud import nearest_name
from bigmachine.errors import UsageError

from ..options._option_formats import last_part, region_of
from ..options._options import GcpOptions
from ._api import Api
from ._errors import GcpError
from ._gcloud import gcloud_property


@dataclass(frozen=True, slots=True)
class Place:
    """One region of one project, and its zones that may be used, in order of preference."""

    project: str
    region: str
    zones: tuple[str, ...]


async def find_place(api: Api, o: GcpOptions) -> Place:
    """Find where instances go, by the options and gcloud's defaults, and ask Google for its zones.

    Raises `UsageError` if there is no region, or if Google has no such region or zone, and
    `GcpError`.
    """
    await api.open()  # missing credentials are reported first
    region = requested_region(o)
    if not region:
        raise UsageError(
            "region: set neither by the option nor by gcloud's configuration; pass one, like "
            "region='europe-west3', or run `gcloud config set compute/region europe-west3`"
        )
    try:
        reply = await api.read("regions.get", region=region)
    except GcpError as error:
        if not error.is_not_found or "/regions/" not in error.message:
            raise
        listed = await api.read_all("regions.list")
        hint = nearest_name(region, (item.name for item in listed), example="europe-west3")
        raise UsageError(
            f"region: Google has no region {region!r} for the project {api.project!r}; {hint} List "
            f"all with `gcloud compute regions list`"
        ) from error
    known = sorted(map(last_part, reply.zones))
    unknown = [zone for zone in o.zone_names if zone not in known]
    if unknown:
        raise UsageError(
            f"zones: the region {region!r} has no zone {unknown[0]!r} for the project "
            f"{api.project!r}; it has {', '.join(known)}"
        )
    return Place(api.project, region, o.zone_names or tuple(known))


def requested_region(o: GcpOptions) -> str:
    """Return the region by the options, else by gcloud's configuration; "" if there is none."""
    if o.region:
        return o.region
    if o.zone_names:
        return region_of(o.zone_names[0])
    return gcloud_property("compute", "region") or region_of(gcloud_property("compute", "zone"))
