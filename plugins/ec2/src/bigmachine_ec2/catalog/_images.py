"""The image that machines boot: the requested one, or one with the driver's Python."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.cloud import python_release
from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import AwsError
from ._instance_types import InstanceType
from ._prices import LINUX

_UBUNTU = "/aws/service/canonical/ubuntu/server/{}/stable/current/{}/hvm/ebs-gp3/ami-id"
_DEBIAN = "/aws/service/debian/release/{}/latest/{}"

# Machines need the driver's minor version of Python; these releases have it as python3. The
# parameters are documented by Canonical ("Find Ubuntu images on AWS") and by the Debian wiki
# ("Cloud/AmazonEC2Image").
_RELEASES = {
    (3, 11): (_DEBIAN, "12"),
    (3, 12): (_UBUNTU, "24.04"),
    (3, 13): (_DEBIAN, "13"),
    (3, 14): (_UBUNTU, "26.04"),
}
_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}  # EC2's names, and the distributions'

# Canonical's accounts, by the first letters of regions ("Find Ubuntu images on AWS").
_CANONICAL = {"cn-": "837727238323", "us-gov-": "513442679011", "": "099720109477"}


@dataclass(frozen=True, slots=True)
class Image:
    """An AMI whose root disk, on EBS, is ``root_device`` and needs at least ``root_gib``.

    ``more_disks`` are its other disks on EBS: device names, and sizes in GiB. ``usage`` is its
    usage operation, which says what its operating system costs; ``is_sold`` is whether it is a
    product of AWS Marketplace, whose software may have a price of its own.
    """

    id: str
    name: str
    architecture: str
    root_device: str
    root_gib: int
    more_disks: tuple[tuple[str, int], ...] = ()
    usage: str = LINUX
    is_sold: bool = False


async def find_images(
    api: Api, *, image: str, disk: int, types: Sequence[InstanceType]
) -> dict[str, Image]:
    """Return the image for each architecture of ``types``.

    ``image`` and ``disk`` are the options. Raises `UsageError` if there is no such image, or if
    it does not fit the types or the disk.
    """
    found = {}
    for architecture in dict.fromkeys(each.architecture for each in types):
        id = await _image_id(api, image) if image else await default_image_id(api, architecture)
        chosen = await _describe(api, id)
        if chosen.architecture != architecture:
            misfits = ", ".join(t.name for t in types if t.architecture == architecture)
            raise UsageError(
                f"image: {chosen.id} ({chosen.name}) is for {chosen.architecture}, but "
                f"{misfits} for {architecture}: choose an image and types of one architecture"
            )
        if disk < chosen.root_gib:
            raise UsageError(
                f"disk: {disk} GiB is too small for {chosen.id} ({chosen.name}): set it to "
                f"{chosen.root_gib} or more"
            )
        found[architecture] = chosen
    return found


def default_image(architecture: str, version: tuple[int, int] = sys.version_info[:2]) -> str:
    """Return the SSM parameter of the image with this version of Python, the driver's own.

    Raises `UsageError` if no known image has it.
    """
    form, release = python_release(_RELEASES, version)
    return form.format(release, _ARCHITECTURES[architecture])


async def default_image_id(
    api: Api, architecture: str, version: tuple[int, int] = sys.version_info[:2]
) -> str:
    """Return the image with this version of Python, the driver's own. Raises `UsageError`."""
    parameter = default_image(architecture, version)
    try:
        return await _image_id(api, parameter)
    except UsageError:  # distributions publish no parameters in some partitions
        ubuntu = await _ubuntus(api, architecture, version) if "ubuntu" in parameter else []
        if not ubuntu:
            raise
        return str(max(ubuntu, key=lambda raw: str(raw["CreationDate"]))["ImageId"])


async def _ubuntus(api: Api, architecture: str, version: tuple[int, int]) -> list[Any]:
    """List Canonical's images with this version of Python, as DescribeImages returns them."""
    name = f"ubuntu-*-{_RELEASES[version][1]}-{_ARCHITECTURES[architecture]}-server-*"
    return await api.read_all(
        "ec2:DescribeImages",
        "Images",
        Owners=[next(id for prefix, id in _CANONICAL.items() if api.region.startswith(prefix))],
        Filters=[
            {"Name": "name", "Values": [f"ubuntu/images/hvm-ssd-gp3/{name}"]},
            {"Name": "state", "Values": ["available"]},
        ],
    )


async def _image_id(api: Api, image: str) -> str:
    if not image.startswith("/"):
        return image
    try:
        reply = await api.read("ssm:GetParameter", Name=image)
    except AwsError as error:
        if error.code != "ParameterNotFound":
            raise
        raise UsageError(
            f"image: there is no SSM parameter {image} in {api.region}; pass an AMI of the "
            f"region, image='ami-…'"
        ) from error
    return str(reply["Parameter"]["Value"])


async def _describe(api: Api, id: str) -> Image:
    # By a filter, because a malformed id would be another error.
    # Deprecated images still boot, and a pinned one is deprecated after two years at the latest.
    # But others' are only listed if asked for ("Deprecate an Amazon EC2 AMI").
    raws = await api.read_all(
        "ec2:DescribeImages",
        "Images",
        Filters=[{"Name": "image-id", "Values": [id]}],
        IncludeDeprecated=True,
    )
    if not raws:
        raise UsageError(
            f"image: {id} does not exist in {api.region}, or this account may not use it: an AMI "
            f"belongs to one region, and has another id in each; pass one of this region, or omit "
            f"it"
        )
    raw = raws[0]
    name = raw.get("Name", "")
    if raw.get("State") != "available":
        raise UsageError(f"image: {id} ({name}) is {raw.get('State')}: pass one that is available")
    if raw.get("Platform"):
        raise UsageError(
            f"image: {id} ({name}) is for {raw.get('PlatformDetails') or raw['Platform']}, and "
            f"machines run Linux: pass another one, or omit it"
        )
    if raw.get("RootDeviceType") != "ebs":
        raise UsageError(
            f"image: {id} ({name}) has no root disk on EBS: pass one that has, or omit it"
        )
    root = raw["RootDeviceName"]
    disks = {
        mapping["DeviceName"]: mapping["Ebs"].get("VolumeSize", 0)
        for mapping in raw.get("BlockDeviceMappings", ())
        if mapping.get("Ebs")
    }
    return Image(
        id=id,
        name=name,
        architecture=raw["Architecture"],
        root_device=root,
        root_gib=disks.pop(root, 0),
        more_disks=tuple(disks.items()),
        usage=raw.get("UsageOperation") or LINUX,
        is_sold=any(
            code.get("ProductCodeType") == "marketplace" for code in raw.get("ProductCodes", ())
        ),
    )
