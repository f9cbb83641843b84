"""What Azure says of an image: of the Marketplace, of a gallery, or a managed image.

Each is another resource, which has the same facts under other names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import AzureError
from ..options._option_formats import location_name
from ._image import Image, Plan

logger = logging.getLogger("bigmachine.azure")

# Versions of the API that the SDK uses (azure-mgmt-compute 39.0).
_COMPUTE, _GALLERIES = "2026-04-01", "2026-03-03"

_GALLERY_IMAGE = re.compile(
    r"(?P<definition>.*/galleries/[^/]+/images/[^/]+)(/versions/(?P<version>[^/]+))?", re.I
)
_PUBLIC_IMAGE = re.compile(
    r"/(?P<kind>Community|Shared)Galleries/(?P<gallery>[^/]+)/Images/(?P<image>[^/]+)"
    r"(/Versions/(?P<version>[^/]+))?",
    re.I,
)


async def read_image(api: Api, name: str, *, location: str) -> Image:
    """Return the image of a URN or an ID, with its version.

    Raises `UsageError` if there is none, or if it can't be a machine's; `AzureError`.
    """
    if match := _PUBLIC_IMAGE.fullmatch(name):
        return await _read_public(api, match, location)
    if match := _GALLERY_IMAGE.fullmatch(name):
        return await _read_gallery(api, match, location)
    if name.startswith("/"):
        return await _read_managed(api, name, location)
    return await _read_marketplace(api, name, location)


async def _read_marketplace(api: Api, urn: str, location: str) -> Image:
    publisher, offer, sku, version = urn.split(":")
    path = {
        "location": location,
        "publisher_name": publisher,
        "offer": offer,
        "skus": sku,
    }
    try:
        if version.lower() == "latest":
            version = await _latest_version(api, path)
            if not version:
                raise UsageError(_no_urn(urn, location))
        raw = await api.read("virtual_machine_images.get", **path, version=version)
    except AzureError as error:
        if error.is_denied:  # with a role on the resource group alone; so does the az command
            logger.info("whether the image can be had is told by the launch alone: %s", error)
            return Image(urn, "", "", "", frozenset())
        if not error.is_not_found:
            raise
        raise UsageError(_no_urn(urn, location)) from error
    urn = ":".join((publisher, offer, sku, version))
    properties = raw.get("properties") or {}
    status = properties.get("imageDeprecationStatus") or {}
    if _state(raw) == "Deprecated":
        other = (status.get("alternativeOption") or {}).get("value")
        raise UsageError(
            f"image: {urn} is deprecated, and Azure refuses it: pass {other or 'another one'}, or "
            f"omit it"
        )
    if date := status.get("scheduledDeprecationTime"):
        logger.warning("%s will be refused by Azure from %s on: choose another image", urn, date)
    disk = properties.get("osDiskImage") or {}
    _check_system(urn, disk.get("operatingSystem"))
    _check_data_disks(urn, properties.get("dataDiskImages"))
    return Image(
        name=urn,
        key="",
        architecture=properties.get("architecture") or "x64",
        generation=properties.get("hyperVGeneration") or "V1",
        controllers=_controllers(_features(properties.get("features"))),
        disk_gib=_gib(disk),
        plan=_plan(properties.get("plan")),
    )


async def _latest_version(api: Api, path: Mapping[str, str]) -> str:
    """Return the newest version that is not deprecated; any if all are, and "" if there is none.

    The list itself is in alphabetical order, where 8.9 is newer than 8.10 (Azure/
    azure-rest-api-specs issue 30142).
    """
    raws = await api.read(
        "virtual_machine_images.list", **path, expand="properties/imageDeprecationStatus"
    )
    versions = [raw["name"] for raw in raws if _state(raw) != "Deprecated"]
    return max(versions or [raw["name"] for raw in raws], key=_numbers, default="")


async def _read_gallery(api: Api, match: re.Match[str], location: str) -> Image:
    definition, version = match["definition"], match["version"]
    properties = await _read(api, definition)
    if version:
        raw = await _read(api, f"{definition}/versions/{version}")
        places = _places(raw)
        if location not in map(location_name, places):
            raise UsageError(
                f"image: {match[0]} is not replicated to {location}, but to "
                f"{', '.join(places) or 'no location'}: replicate it, pass another image, or "
                f"another location"
            )
    else:
        listed = await _list_versions(api, f"{definition}/versions")
        here = [raw for raw in listed if location in map(location_name, _places(raw))]
        raw = _newest(here, name=definition, location=location)
        version = raw["name"]
    return _from_definition(properties, raw, name=f"{definition}/versions/{version}", key="id")


async def _read_public(api: Api, match: re.Match[str], location: str) -> Image:
    """Return an image of a community gallery, or of one that somebody shares."""
    kind = match["kind"].lower()
    definition = (
        f"/subscriptions/{api.subscription}/providers/Microsoft.Compute/locations/{location}/"
        f"{kind}Galleries/{match['gallery']}/images/{match['image']}"
    )
    properties = await _read(api, definition, name=match[0])
    if version := match["version"]:
        raw = await _read(api, f"{definition}/versions/{version}", name=match[0])
    else:
        raw = _newest(
            await _list_versions(api, f"{definition}/versions"),
            name=match[0],
            location=location,
        )
        version = raw["name"]
    prefix = f"/{kind.capitalize()}Galleries/{match['gallery']}/Images/{match['image']}"
    return _from_definition(
        properties, raw, name=f"{prefix}/Versions/{version}", key=f"{kind}GalleryImageId"
    )


async def _read_managed(api: Api, id: str, location: str) -> Image:
    raw = await _read(api, id, api_version=_COMPUTE)
    place = location_name(raw.get("location") or "")
    if place != location:
        raise UsageError(
            f"image: {id} is in {place}, but the session in {location}: pass an image of "
            f"{location} (one in a gallery can be in several), or location={place!r}"
        )
    properties = raw.get("properties") or {}
    storage = properties.get("storageProfile") or {}
    disk = storage.get("osDisk") or {}
    _check_system(id, disk.get("osType"))
    _check_state(id, disk.get("osState"))
    _check_data_disks(id, storage.get("dataDisks"))
    return Image(
        name=id,
        key="id",
        architecture="x64",  # the resource knows no other, and no feature
        generation=properties.get("hyperVGeneration") or "V1",
        controllers=frozenset({"SCSI"}),
        disk_gib=int(disk.get("diskSizeGB") or 0),
    )


def _from_definition(
    definition: Mapping[str, Any], version: Mapping[str, Any], *, name: str, key: str
) -> Image:
    """Return an image of a gallery from Azure's answers for its definition and its version."""
    properties = definition.get("properties") or {}
    storage = (version.get("properties") or {}).get("storageProfile") or {}
    _check_system(name, properties.get("osType"))
    _check_state(name, properties.get("osState"))
    _check_data_disks(name, storage.get("dataDiskImages"))
    features = _features(properties.get("features"))
    # "The provided gallery image only supports creation of VMs … with 'TrustedLaunch' security
    # type." (kubermatic/machine-controller issue 2013)
    security = features.get("securitytype", "").lower()
    if security == "confidentialvm":
        raise UsageError(
            f"image: {name} is for confidential VMs alone: pass another one, or omit it"
        )
    return Image(
        name=name,
        key=key,
        architecture=properties.get("architecture") or "x64",
        generation=properties.get("hyperVGeneration") or "V1",
        controllers=_controllers(features),
        disk_gib=_gib(storage.get("osDiskImage") or {}),
        plan=_plan(properties.get("purchasePlan")),
        needs_trusted_launch=security == "trustedlaunch",
    )


async def _read(api: Api, id: str, *, name: str = "", api_version: str = _GALLERIES) -> Any:
    try:
        return await api.request("GET", id, api_version=api_version)
    except AzureError as error:
        if error.is_not_found:
            raise UsageError(
                f"image: there is no {name or id}: pass another one, or omit it"
            ) from error
        if error.is_denied:
            raise UsageError(
                f"image: these credentials may not read {name or id}: have its owner grant the "
                f"role Reader on it, or pass another image. (Azure answered {error.code}: "
                f"{error.message})"
            ) from error
        raise


async def _list_versions(api: Api, path: str) -> list[dict[str, Any]]:
    return await api.request_all(path, api_version=_GALLERIES)


def _newest(versions: Sequence[Any], *, name: str, location: str) -> Any:
    usable = [raw for raw in versions if not _is_excluded(raw)]
    if not usable:
        raise UsageError(
            f"image: {name} has no version in {location}: replicate one, name another image, or "
            f"pass another location"
        )
    return max(usable, key=lambda raw: _numbers(raw["name"]))


def _numbers(version: str) -> list[int]:
    """Return a version as it is compared."""
    return [int(part) for part in re.findall(r"\d+", version)]


def _state(raw: Mapping[str, Any]) -> str:
    """Return the state of a version of the marketplace, such as ``"Active"``; "" if unknown."""
    status = (raw.get("properties") or {}).get("imageDeprecationStatus") or {}
    return str(status.get("imageState") or "")


def _is_excluded(raw: Mapping[str, Any]) -> bool:
    """Whether a version is not to be what "the latest" means."""
    properties = raw.get("properties") or {}
    published = properties.get("publishingProfile") or {}
    return bool(properties.get("excludeFromLatest") or published.get("excludeFromLatest"))


def _places(raw: Mapping[str, Any]) -> list[str]:
    """Return where a version of a gallery's image is replicated to."""
    published = (raw.get("properties") or {}).get("publishingProfile") or {}
    return [region["name"] for region in published.get("targetRegions") or ()]


def _features(raws: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """Return an image's features, by name in lower case."""
    return {raw.get("name", "").lower(): raw.get("value", "") for raw in raws or ()}


def _controllers(features: Mapping[str, str]) -> frozenset[str]:
    """Return from which disks an image can boot; SCSI alone if nothing says more."""
    listed = features.get("diskcontrollertypes") or "SCSI"
    return frozenset(each.strip() for each in listed.split(","))


def _gib(disk: Mapping[str, Any]) -> int:
    # Answers have them, and the specification has not, except for galleries.
    if size := disk.get("sizeInGb") or disk.get("sizeInGB") or disk.get("diskSizeGB"):
        return int(size)
    return -(-int(disk.get("sizeInBytes") or 0) // (1 << 30))


def _plan(raw: Mapping[str, str] | None) -> Plan | None:
    if not raw or not raw.get("name"):
        return None
    return Plan(raw.get("publisher", ""), raw.get("product", ""), raw["name"])


def _check_system(name: str, system: str | None) -> None:
    if system == "Windows":
        raise UsageError(
            f"image: {name} is for Windows, and machines run Linux: pass another one, or omit it"
        )


def _check_state(name: str, state: str | None) -> None:
    if state == "Specialized":
        raise UsageError(
            f"image: {name} is specialized, a copy of one VM that takes no user data: pass a "
            f"generalized one, or omit it"
        )


def _check_data_disks(name: str, disks: Sequence[Any] | None) -> None:
    if disks:
        raise UsageError(
            f"image: {name} has data disks of its own, which would be left when its machines are "
            f"deleted: pass an image without, or omit it"
        )


def _no_urn(urn: str, location: str) -> str:
    publisher, offer, *_ = urn.split(":")
    return (
        f"image: Azure has no image {urn!r} in {location}: pass another one, or omit it; list "
        f"all with `az vm image list --all --location {location} --publisher {publisher} "
        f"--offer {offer} --output table`"
    )
