"""Galleries of others: community galleries, which are everybody's, and those shared with us.

Both are read in a location, where images are known by the unique ID of their gallery
(Azure/azure-rest-api-specs, ComputeRP's gallery: communityGallery.json and sharedGallery.json).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import SUBSCRIPTION, Call, implements
from tests.support.azure.errors import ArmError

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

_LOCATION = f"{SUBSCRIPTION}/providers/Microsoft.Compute/locations/{{location}}"
_IMAGE = "{gallery}/images/{image}"
_COMMUNITY = f"{_LOCATION}/communityGalleries/{_IMAGE}"
_SHARED = f"{_LOCATION}/sharedGalleries/{_IMAGE}"


@dataclass
class PublicGalleries:
    """All images of such galleries, by their unique IDs without a version, in lower case."""

    arm: Arm
    all: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(
        self, kind: str, gallery: str, image: str, *, versions: Sequence[str], **properties: Any
    ) -> str:
        """Add an image in this location, and return its unique ID; ``kind`` is as ``Community``."""
        id = f"/{kind}Galleries/{gallery}/Images/{image}"
        given = {
            "osType": "Linux",
            "osState": "Generalized",
            "identifier": {"publisher": "they", "offer": gallery, "sku": image},
            "hyperVGeneration": "V2",
            "architecture": "x64",
            **properties,
        }
        self.all[id.lower()] = {"id": id, "properties": given, "versions": [*versions]}
        return id

    @implements("community_gallery_images.get", "GET", _COMMUNITY)
    @implements("shared_gallery_images.get", "GET", _SHARED)
    def get(self, call: Call) -> Any:
        image = self._require(call)
        return self._document(call, image["id"], call.image, image["properties"])

    @implements("community_gallery_image_versions.list", "GET", f"{_COMMUNITY}/versions")
    @implements("shared_gallery_image_versions.list", "GET", f"{_SHARED}/versions")
    def list_versions(self, call: Call) -> Any:
        image = self._require(call)
        return self.arm.page(call, [self._version(call, image, of) for of in image["versions"]])

    @implements("community_gallery_image_versions.get", "GET", f"{_COMMUNITY}/versions/{{version}}")
    @implements("shared_gallery_image_versions.get", "GET", f"{_SHARED}/versions/{{version}}")
    def get_version(self, call: Call) -> Any:
        image = self._require(call)
        if call.version not in image["versions"]:
            raise _not_found(f"{image['id']}/Versions/{call.version}")
        return self._version(call, image, call.version)

    def _require(self, call: Call) -> dict[str, Any]:
        kind = "Community" if "/communitygalleries/" in call.path.lower() else "Shared"
        id = f"/{kind}Galleries/{call.gallery}/Images/{call.image}"
        if call.location != self.arm.location or id.lower() not in self.all:
            raise _not_found(id)
        return self.all[id.lower()]

    def _version(self, call: Call, image: Mapping[str, Any], version: str) -> dict[str, Any]:
        properties = {
            "publishedDate": "2026-11-01T00:00:00Z",
            "excludeFromLatest": False,
            "storageProfile": {"osDiskImage": {"diskSizeGB": 30, "hostCaching": "None"}},
        }
        return self._document(call, f"{image['id']}/Versions/{version}", version, properties)

    def _document(
        self, call: Call, id: str, name: str, properties: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {
            "name": name,
            "location": call.location,
            "identifier": {"uniqueId": id},
            "properties": dict(properties),
        }


def _not_found(id: str) -> ArmError:
    return ArmError(404, "GalleryImageNotFound", f"The gallery image {id} is not available.")
