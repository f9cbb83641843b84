"""The image that machines boot: the requested one, or one with the driver's Python."""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.cloud import python_release
from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import GcpError
from ..options._option_formats import last_part, resource_path
from ._machine_types import MachineType

_UBUNTU, _DEBIAN = "ubuntu-os-cloud", "debian-cloud"

# Machines need the driver's minor version of Python; these releases have it as python3. The
# families are in Google's "Operating system details", and the architecture of a family is the end
# of its name, which Debian's for x86-64 don't have.
_RELEASES = {
    (3, 11): (_DEBIAN, "debian-12"),
    (3, 12): (_UBUNTU, "ubuntu-2404-lts"),
    (3, 13): (_DEBIAN, "debian-13"),
    (3, 14): (_UBUNTU, "ubuntu-2604-lts"),
}
_SUFFIXES = {
    (_DEBIAN, "X86_64"): "",
    (_DEBIAN, "ARM64"): "-arm64",
    (_UBUNTU, "X86_64"): "-amd64",
    (_UBUNTU, "ARM64"): "-arm64",
}
# Of Google's public images, Ubuntu's have cloud-init ("Ubuntu on Google Cloud"). An image that
# somebody made of one has its licenses still.
_UBUNTUS = re.compile(r"(^|/)projects/ubuntu-os-[\w-]+/")
# It "does not support execution of non-containerized applications" ("Container-Optimized OS
# overview", "Limitations"), and drops what comes in, except ssh.
_CONTAINERS_ONLY = re.compile(r"(^|/)projects/cos-cloud/")
_LABEL = "bigmachine-boot"
"""An image's label that says how it boots: the value of a `BootForm`."""


class BootForm(enum.StrEnum):
    """What runs the boot program: a key of the instance's metadata."""

    CLOUD_INIT = "cloud-init"
    """cloud-init, by the key ``user-data``: on Ubuntu."""
    STARTUP_SCRIPT = "startup-script"
    """Google's guest agent, by the key ``startup-script``: on all of Google's images for Linux."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image. ``link`` names it, and not its family, so that all machines boot the same.

    ``architecture`` is Google's word; the boot disk needs at least ``disk_gib``.
    """

    link: str
    architecture: str
    disk_gib: int
    boot_form: BootForm

    @property
    def name(self) -> str:
        """Its name, without its project."""
        return last_part(self.link)


async def find_images(
    api: Api, *, image: str, disk: int, types: Sequence[MachineType]
) -> dict[str, Image]:
    """Return the image for each architecture of ``types``.

    ``image`` and ``disk`` are the options. Raises `UsageError` if there is no such image, or if
    it does not fit the types or the disk; `GcpError`.
    """
    found: dict[str, Image] = {}
    for architecture in dict.fromkeys(each.architecture for each in types):
        raw = await _read(api, image or default_image(architecture))
        chosen = _image_from(raw)
        if chosen.architecture != architecture:
            misfits = ", ".join(t.name for t in types if t.architecture == architecture)
            raise UsageError(
                f"image: {chosen.link} is for {chosen.architecture}, but {misfits} for "
                f"{architecture}: choose an image and types of one architecture"
            )
        if disk < chosen.disk_gib:
            raise UsageError(
                f"disk: {disk} GiB is too small for {chosen.link}: set it to {chosen.disk_gib} or "
                f"more"
            )
        found[architecture] = chosen
    return found


def default_image(architecture: str, version: tuple[int, int] = sys.version_info[:2]) -> str:
    """Return the image family with this version of Python, the driver's own.

    Raises `UsageError` if no known family has it.
    """
    project, release = python_release(_RELEASES, version)
    suffix = _SUFFIXES[project, architecture]
    return f"projects/{project}/global/images/family/{release}{suffix}"


async def _read(api: Api, image: str) -> Any:
    """Return Google's answer for the path or URL of an image or of a family."""
    path = resource_path(image)
    project, _, rest = path.removeprefix("projects/").partition("/global/images/")
    if not rest:  # global/images/NAME, of the own project
        project, rest = api.project, path.partition("global/images/")[2]
    family = rest.removeprefix("family/")
    try:
        if family != rest:
            return await api.read("images.get_from_family", project=project, family=family)
        return await api.read("images.get", project=project, image=rest)
    except GcpError as error:
        if not (error.is_not_found or error.is_denied):
            raise
        raise UsageError(_no_image(project, rest, error)) from error


def _no_image(project: str, rest: str, error: GcpError) -> str:
    list_all = f"list all with `gcloud compute images list --project={project} --no-standard-images"
    if error.is_denied:
        return (
            f"image: these credentials may not read projects/{project}/global/images/{rest}: have "
            f"its owner grant roles/compute.imageUser on that project, or pass another image. "
            f"(Google answered {error.code}: {error.message})"
        )
    if "/images/" not in error.message:
        return (
            f"image: there is no project {project!r}, or these credentials may not see it: pass "
            f"another image, or omit it"
        )
    family = rest.removeprefix("family/")
    if family != rest:
        return (
            f"image: the family {family!r} of the project {project} does not exist, or has no "
            f"image that is not deprecated: pass another one, or omit it; {list_all}`"
        )
    return (
        f"image: the project {project} has no image {rest!r}; for the newest of a family, pass "
        f"'projects/{project}/global/images/family/FAMILY'; {list_all} --show-deprecated`"
    )


def _image_from(raw: Any) -> Image:
    link = resource_path(raw.self_link)
    # Use of a deprecated image succeeds, with a warning; of others not ("DeprecationStatus").
    if raw.deprecated.state in ("OBSOLETE", "DELETED"):
        instead = resource_path(raw.deprecated.replacement)
        raise UsageError(
            f"image: {link} is {raw.deprecated.state.lower()}, and Google refuses it: pass "
            f"{instead or 'another one'}, or omit it"
        )
    if raw.status and raw.status != "READY":
        raise UsageError(f"image: {link} is {raw.status}: pass one that is READY")
    if any(feature.type_ == "WINDOWS" for feature in raw.guest_os_features):
        raise UsageError(
            f"image: {link} is for Windows, and machines run Linux: pass another one, or omit it"
        )
    sources = (link, raw.source_image, *raw.licenses)
    if any(map(_CONTAINERS_ONLY.search, sources)):
        raise UsageError(
            f"image: {link} is Container-Optimized OS, which runs nothing but containers, and "
            f"machines are no containers: pass another one, or omit it"
        )
    return Image(
        link=link,
        # Images that were made before there was arm64 don't say theirs.
        architecture="ARM64" if raw.architecture == "ARM64" else "X86_64",
        disk_gib=int(raw.disk_size_gb),
        boot_form=_boot_form(link, dict(raw.labels), sources),
    )


def _boot_form(link: str, labels: Mapping[str, str], sources: Iterable[str]) -> BootForm:
    if label := labels.get(_LABEL, ""):
        if label not in [*BootForm]:
            raise UsageError(
                f"image: the label {_LABEL} of {link} must be {' or '.join(BootForm)}, not "
                f"{label!r}: change it, or pass another image"
            )
        return BootForm(label)
    return BootForm.CLOUD_INIT if any(map(_UBUNTUS.search, sources)) else BootForm.STARTUP_SCRIPT
