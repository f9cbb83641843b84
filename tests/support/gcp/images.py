"""Images: those of Ubuntu and Debian by their families, and those that a test adds."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call, implements
from tests.support.gcp.errors import GceError, not_found
from tests.support.gcp.lists import one_page

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

FEATURES = ("VIRTIO_SCSI_MULTIQUEUE", "UEFI_COMPATIBLE", "GVNIC", "IDPF")
UBUNTU = {"2204": "jammy", "2404": "noble", "2604": "resolute"}
DEBIAN = {"12": "bookworm", "13": "trixie"}


@dataclass
class Image:
    """An image of a project."""

    project: str
    name: str
    family: str = ""
    architecture: str = "X86_64"
    """"" as of old images, of which Google does not say it."""
    size: int = 10
    """In GB."""
    status: str = "READY"
    deprecated: str = ""
    """``DEPRECATED``, ``OBSOLETE`` or ``DELETED``."""
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"projects/{self.project}/global/images/{self.name}"


def public_images() -> list[Image]:
    """Return images of today; names are as Google's have been since 2024."""
    images = []
    for release, name in UBUNTU.items():
        for cpu, architecture in (("amd64", "X86_64"), ("arm64", "ARM64")):
            # The families of 22.04 name only arm64.
            family = f"ubuntu-{release}-lts-{cpu}"
            image = f"ubuntu-{release}-{name}-{cpu}-v20261118"
            if release == "2204":
                suffix = "-arm64" if cpu == "arm64" else ""
                family = f"ubuntu-2204-lts{suffix}"
                image = f"ubuntu-2204-jammy{suffix}-v20261118"
            images.append(Image("ubuntu-os-cloud", image, family, architecture))
            minimal = f"ubuntu-minimal-{release}-{name}-{cpu}-v20261118"
            family = f"ubuntu-minimal-{release}-lts-{cpu}"
            images.append(Image("ubuntu-os-cloud", minimal, family, architecture))
    for release, name in DEBIAN.items():
        for suffix, architecture in (("", "X86_64"), ("-arm64", "ARM64")):
            image = f"debian-{release}-{name}{suffix}-v20261111"
            images.append(Image("debian-cloud", image, f"debian-{release}{suffix}", architecture))
    old = "debian-12-bookworm-v20261014"
    images.append(Image("debian-cloud", old, "debian-12", deprecated="DEPRECATED"))
    images.append(Image("rocky-linux-cloud", "rocky-linux-9-v20261110", "rocky-linux-9", size=20))
    images.append(Image("cos-cloud", "cos-stable-125-19216-104-70", "cos-stable"))
    return images


@dataclass
class Images:
    """All images, of all projects."""

    gce: Gce
    all: list[Image] = field(default_factory=public_images)
    forbidden: set[str] = field(default_factory=set)
    """Projects whose images this account may not use."""

    def add(self, name: str, *, project: str = "", **fields: Any) -> Image:
        """Add an image, by default to the tests' own project."""
        image = Image(project or self.gce.project, name, **fields)
        self.all.append(image)
        return image

    def find(self, path: str) -> Image | None:
        """Return what a path or URL leads to; ``…/family/F`` is the newest one of a family."""
        path = path.partition("/compute/v1/")[2] or path
        parts = path.strip("/").split("/")
        if parts[0] == "global":
            parts = ["projects", self.gce.project, *parts]
        if len(parts) == 6 and parts[4] == "family":
            return self._newest(parts[1], parts[5])
        return next((image for image in self.all if image.path == "/".join(parts)), None)

    @implements("images.getFromFamily")
    def get_from_family(self, call: Call) -> Any:
        self._check_allowed(call.project, f"global/images/family/{call.family}")
        image = self._newest(call.project, call.family)
        if image is None:
            raise not_found(f"projects/{call.project}/global/images/family/{call.family}")
        return self.document(image)

    @implements("images.get")
    def get(self, call: Call) -> Any:
        self._check_allowed(call.project, f"global/images/{call.image}")
        path = f"projects/{call.project}/global/images/{call.image}"
        image = self.find(path)
        if image is None:
            raise not_found(path)
        return self.document(image)

    @implements("images.list")
    def list(self, call: Call) -> Any:
        self._check_allowed(call.project, "global/images")
        found = [self.document(image) for image in self.all if image.project == call.project]
        url = self.gce.link_of(f"projects/{call.project}/global/images")
        return one_page(call, "compute#imageList", found, url)

    def document(self, image: Image) -> dict[str, Any]:
        document: dict[str, Any] = {
            "kind": "compute#image",
            "id": str(zlib.crc32(image.path.encode()) + 1000),
            "creationTimestamp": "2026-11-18T08:00:00.000-08:00",
            "name": image.name,
            "sourceType": "RAW",
            "rawDisk": {"containerType": "TAR", "source": ""},
            "status": image.status,
            "archiveSizeBytes": "698812352",
            "diskSizeGb": str(image.size),
            "selfLink": self.gce.link_of(image.path),
            "labelFingerprint": "42WmSpB8rSM=",
            "guestOsFeatures": [{"type": feature} for feature in FEATURES],
            "storageLocations": ["us", "eu", "asia"],
        }
        if image.family:
            document["family"] = image.family
        if image.architecture:
            document["architecture"] = image.architecture
        if image.deprecated:
            document["deprecated"] = {"state": image.deprecated}
        if image.labels:
            document["labels"] = dict(image.labels)
        return document

    def _newest(self, project: str, family: str) -> Image | None:
        """Return the newest image of a family that is not deprecated, by the API's own rule."""
        found = [i for i in self.all if (i.project, i.family) == (project, family)]
        return max((i for i in found if not i.deprecated), key=lambda i: i.name, default=None)

    def _check_allowed(self, project: str, path: str) -> None:
        if project in self.forbidden:
            raise GceError(
                403,
                "forbidden",
                f"Required 'compute.images.get' permission for 'projects/{project}/{path}'",
            )
