"""The image that machines boot: the requested one, or one with the driver's Python."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bigmachine.cloud import for_each, python_release
from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import AzureError
from ..options._options import AzureOptions
from ._image import Image
from ._image_sources import read_image
from ._vm_sizes import VmSize

# Machines need the driver's minor version of Python; these releases have it as python3. None of
# them has a plan whose terms somebody must accept ("Endorsed Linux distributions on Azure").
# By architecture and generation: the SKU's name without a word for it is Ubuntu's of generation 2,
# and Debian's of generation 1.
_UBUNTU = {("x64", "V2"): "server", ("x64", "V1"): "server-gen1", ("Arm64", "V2"): "server-arm64"}
_DEBIAN = {("x64", "V2"): "{}-gen2", ("x64", "V1"): "{}", ("Arm64", "V2"): "{}-arm64"}
_RELEASES = {
    (3, 11): ("Debian:debian-12", _DEBIAN, "12"),
    (3, 12): ("Canonical:ubuntu-24_04-lts", _UBUNTU, ""),
    (3, 13): ("Debian:debian-13", _DEBIAN, "13"),
    (3, 14): ("Canonical:ubuntu-26_04-lts", _UBUNTU, ""),
}


async def find_images(
    api: Api, o: AzureOptions, sizes: Sequence[VmSize], *, location: str
) -> dict[str, Image]:
    """Return the image for each of these sizes, by the size's name.

    Sizes that nobody has named are left out if their image does not fit them. Raises `UsageError`
    if there is no such image, or if it does not fit a size or the disk; `AzureError`.
    """
    names = {size.name: o.image or default_image(size) for size in sizes}
    images: dict[str, Image] = {}

    async def read(name: str) -> None:
        images[name] = await read_image(api, name, location=location)

    await for_each(dict.fromkeys(names.values()), read)
    for image in images.values():
        await _check_terms(api, image)
        if o.disk < image.disk_gib:
            raise UsageError(
                f"disk: {o.disk} GiB is too small for {image.name}: set it to {image.disk_gib} or "
                f"more"
            )
    found = {size.name: images[names[size.name]] for size in sizes}
    problems = {size.name: _misfit(found[size.name], size) for size in sizes}
    fitting = {name: image for name, image in found.items() if not problems[name]}
    if (o.vm_sizes and len(fitting) < len(found)) or not fitting:
        raise UsageError(next(filter(None, problems.values())))
    return fitting


def default_image(size: VmSize, version: tuple[int, int] = sys.version_info[:2]) -> str:
    """Return the URN of the image for a size with this version of Python, the driver's own.

    Raises `UsageError` if no known release has it.
    """
    offer, skus, number = python_release(_RELEASES, version)
    generation = "V2" if "V2" in size.generations else "V1"
    sku = skus[size.architecture, generation].format(number)
    return f"{offer}:{sku}:latest"


def _misfit(image: Image, size: VmSize) -> str:
    """Return why a size can't boot an image; "" if it can. Azure's own words are in the tests."""
    if not image.architecture:  # it is unknown
        return ""
    if image.architecture != size.architecture:
        return (
            f"image: {image.name} is for {image.architecture}, but {size.name} is "
            f"{size.architecture}: choose an image and sizes of one architecture"
        )
    if image.generation not in size.generations:
        listed = " and ".join(sorted(size.generations))
        return (
            f"image: {image.name} is of generation {image.generation}, but {size.name} boots "
            f"{listed}: choose an image of that generation (most have 'gen2' or 'gen1' in their "
            f"SKU), or another size"
        )
    if not image.controllers & size.controllers:
        listed = " and ".join(sorted(size.controllers))
        return (
            f"image: {image.name} boots from {' and '.join(sorted(image.controllers))} disks, but "
            f"{size.name} has {listed} alone: choose an image whose feature DiskControllerTypes "
            f"names {listed}, or a size like Standard_D2s_v5"
        )
    if image.needs_trusted_launch and not size.has_trusted_launch:
        return (
            f"image: {image.name} is for VMs with Trusted launch alone, which {size.name} does not "
            f"have: choose an image whose feature SecurityType is TrustedLaunchSupported, or "
            f"another size"
        )
    return ""


async def _check_terms(api: Api, image: Image) -> None:
    """Raise `UsageError` if the terms of an image's plan are not accepted in the subscription."""
    plan = image.plan
    if plan is None:
        return
    path = (
        f"/subscriptions/{api.subscription}/providers/Microsoft.MarketplaceOrdering/offerTypes/"
        f"virtualmachine/publishers/{plan.publisher}/offers/{plan.product}/plans/{plan.name}/"
        f"agreements/current"
    )
    try:
        terms = await api.request("GET", path, api_version="2021-01-01")
    except AzureError as error:
        if not error.is_response or error.is_temporary:
            raise
        return  # nobody may read them, or they are unknown: then Azure says it at the launch
    if not (terms.get("properties") or {}).get("accepted"):
        raise UsageError(
            f"image: {image.name} is sold by {plan.publisher}, and its terms are not accepted in "
            f"this subscription: read and accept them (`az vm image terms accept --publisher "
            f"{plan.publisher} --offer {plan.product} --plan {plan.name} --subscription "
            f"{api.subscription}`), or pass another image"
        )
