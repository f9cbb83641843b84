"""Images: those of the marketplace with their terms, managed ones, and those of galleries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import GROUP, SUBSCRIPTION, Call, implements
from tests.support.azure.errors import ArmError, not_found
from tests.support.azure.platform_images import PlatformImage, public_images

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

_VERSIONS = (
    f"{SUBSCRIPTION}/providers/Microsoft.Compute/locations/{{location}}/publishers/{{publisher}}"
    "/artifacttypes/vmimage/offers/{offer}/skus/{sku}/versions"
)
_GALLERY = f"{GROUP}/providers/Microsoft.Compute/galleries/{{gallery}}/images/{{image}}"
_TERMS = (
    f"{SUBSCRIPTION}/providers/Microsoft.MarketplaceOrdering/offerTypes/virtualmachine"
    "/publishers/{publisher}/offers/{offer}/plans/{plan}/agreements/current"
)


@dataclass(frozen=True)
class Source:
    """What a VM boots from, whatever kind of image it is."""

    architecture: str
    generation: str
    controllers: tuple[str, ...]
    size: int
    """Of its disk in GB."""
    os: str = "Linux"
    plan: Mapping[str, str] | None = None
    version: str = ""
    """The exact version of an image of the marketplace."""
    python: str = "3.12"
    security: str = ""
    """The feature ``SecurityType``: with ``TrustedLaunch``, VMs of that type alone boot it."""


@dataclass
class Images:
    """All images; a test may add some."""

    arm: Arm
    all: list[PlatformImage] = field(default_factory=public_images)
    accepted: set[str] = field(default_factory=set)
    """Plans, as ``publisher/product/name``, whose terms this subscription has accepted."""

    # -- for tests ----------------------------------------------------------------------

    def add_managed(self, name: str, *, group: str, size: int = 30, generation: str = "V2") -> str:
        """Add a managed image of the user's, and return its id; these are for x64 only."""
        properties = {
            "provisioningState": "Succeeded",
            "hyperVGeneration": generation,
            "storageProfile": {
                "osDisk": {"osType": "Linux", "osState": "Generalized", "diskSizeGB": size},
                "dataDisks": [],
                "zoneResilient": False,
            },
        }
        return self._add(f"images/{name}", group, properties)

    def add_to_gallery(
        self,
        name: str,
        *,
        group: str,
        gallery: str = "mine",
        versions: Mapping[str, str] | None = None,
        controllers: str = "",
        **properties: Any,
    ) -> str:
        """Add an image of a gallery, and return its id; ``versions`` are in a location each.

        ``properties`` are as ``architecture="Arm64"``; without ``controllers`` it is SCSI only.
        """
        features = [{"name": "DiskControllerTypes", "value": controllers}] if controllers else []
        properties = {
            "hyperVGeneration": "V2",
            "architecture": "x64",
            "osType": "Linux",
            "osState": "Generalized",
            "identifier": {"publisher": "us", "offer": gallery, "sku": name},
            "features": features,
            "provisioningState": "Succeeded",
            **properties,
        }
        path = f"galleries/{gallery}/images/{name}"
        id = self._add(path, group, properties)
        for version, location in (versions or {"1.0.0": self.arm.location}).items():
            place = [{"name": location, "regionalReplicaCount": 1}]
            of_version = {
                "provisioningState": "Succeeded",
                "publishingProfile": {"targetRegions": place, "excludeFromLatest": False},
                "storageProfile": {"osDiskImage": {"sizeInGB": 30}},
            }
            self._add(f"{path}/versions/{version}", group, of_version)
        return id

    def _add(self, path: str, group: str, properties: Mapping[str, Any]) -> str:
        parts = path.split("/")
        document = {
            "id": f"{self.arm.groups.all[group.lower()]['id']}/providers/Microsoft.Compute/{path}",
            "name": parts[-1],
            "type": "Microsoft.Compute/" + "/".join(parts[::2]),
            "location": self.arm.location,
            "properties": properties,
        }
        return str(self.arm.resources.add(document, is_users=True)["id"])

    # -- for VMs ------------------------------------------------------------------------

    def source(self, reference: Mapping[str, Any], location: str) -> Source:
        """Return what an ``imageReference`` leads to; raises `ArmError`."""
        if "id" in reference:
            return self._of_id(str(reference["id"]), location)
        for key in ("communityGalleryImageId", "sharedGalleryImageId"):
            if key in reference:
                return self._of_public_gallery(str(reference[key]))
        names = [str(reference.get(key, "")) for key in ("publisher", "offer", "sku")]
        version = str(reference.get("version", ""))
        image = self._find(*names)
        if image is None or (version != "latest" and version not in image.versions):
            urn = ":".join([*names, version])
            # hashicorp/packer#10600
            text = (
                f"The platform image '{urn}' is not available. Verify that all fields in the "
                "storage profile are correct. For more details about storage profile information, "
                "please refer to https://aka.ms/storageprofile"
            )
            raise ArmError(404, "PlatformImageNotFound", text, "imageReference")
        return Source(
            image.architecture,
            image.generation,
            tuple(image.controllers.split(", ")),
            image.size,
            image.os,
            image.plan.fields() if image.plan else None,
            image.versions[-1] if version == "latest" else version,
            image.python,
        )

    def check_terms(self, vm: Mapping[str, Any], subscription: str) -> None:
        """Refuse a VM whose plan's terms this subscription has not accepted."""
        plan = vm.get("plan")
        if not plan:
            return
        key = "/".join(str(plan.get(name, "")) for name in ("publisher", "product", "name"))
        if key not in self.accepted:
            text = (  # nforgeio/neonKUBE#1673
                "User failed validation to purchase resources. Error message: 'You have not "
                f"accepted the legal terms on this subscription: '{subscription}' for this plan. "
                "Before the subscription can be used, you need to accept the legal terms of the "
                "image. To read and accept legal terms, use the Azure CLI commands described at "
                "https://go.microsoft.com/fwlink/?linkid=2110637 or the PowerShell commands "
                "available at https://go.microsoft.com/fwlink/?linkid=862451. Alternatively, "
                "deploying via the Azure portal provides a UI experience for reading and accepting "
                f"the legal terms. Offer details: publisher='{plan.get('publisher')}' offer = "
                f"'{plan.get('product')}', sku = '{plan.get('name')}'"
            )
            raise ArmError(400, "ResourcePurchaseValidationFailed", text)

    def check_plan(self, vm: Mapping[str, Any], source: Source) -> None:
        """See that a VM names the plan of its image: Azure does so late (sap-automation#433)."""
        if source.plan and not vm.get("plan"):
            text = (
                "Creating a virtual machine from Marketplace image or a custom image sourced from "
                f"a Marketplace image requires Plan information in the request. VM: '{vm['id']}'."
            )
            raise ArmError(409, "VMMarketplaceInvalidInput", text)

    def _of_id(self, id: str, location: str) -> Source:
        if "/galleries/" in id.lower():
            return self._of_gallery(id, location)
        document = self.arm.resources.find(id)
        if document is None or document["type"] != "Microsoft.Compute/images":
            text = f"Image '{id}' could not be found."
            raise ArmError(404, "NotFound", text, "imageReference")
        if document["location"] != location:
            text = f"Image '{id}' is not in the location '{location}'."
            raise ArmError(400, "InvalidParameter", text, "imageReference.id")
        disk = document["properties"]["storageProfile"]["osDisk"]
        generation = document["properties"]["hyperVGeneration"]
        return Source("x64", generation, ("SCSI",), disk["diskSizeGB"], disk["osType"])

    def _of_public_gallery(self, id: str) -> Source:
        definition, _, version = id.lower().partition("/versions/")
        image = self.arm.public_galleries.all.get(definition)
        if image is None or (version and version not in image["versions"]):
            text = f"The gallery image {id} is not available."
            raise ArmError(404, "GalleryImageNotFound", text, "imageReference")
        of = image["properties"]
        controllers = [
            feature["value"].replace(" ", "").split(",")
            for feature in of.get("features", ())
            if feature["name"] == "DiskControllerTypes"
        ]
        return Source(
            of["architecture"],
            of["hyperVGeneration"],
            tuple(controllers[0]) if controllers else ("SCSI",),
            30,
            of["osType"],
            of.get("purchasePlan"),
        )

    def _of_gallery(self, id: str, location: str) -> Source:
        definition, _, version = id.partition("/versions/")
        document = self.arm.resources.find(definition)
        type = "Microsoft.Compute/galleries/images/versions"
        there = [
            of
            for of in self.arm.resources.of_type(type)
            if of["id"].lower().startswith(f"{definition.lower()}/versions/")
            and (not version or version == "latest" or of["name"] == version)
            and any(
                region["name"].replace(" ", "").lower() == location
                for region in of["properties"]["publishingProfile"]["targetRegions"]
            )
        ]
        if document is None or not there:
            # pulumi/pulumi-aws#5129
            text = (
                f"The gallery image {id} is not available in {location} region. Please contact "
                "image owner to replicate to this region, or change your requested region."
            )
            raise ArmError(404, "GalleryImageNotFound", text, "imageReference")
        of = document["properties"]
        features = {feature["name"]: feature["value"] for feature in of["features"]}
        controllers = features.get("DiskControllerTypes", "SCSI").replace(" ", "").split(",")
        plan = of.get("purchasePlan")
        size = there[-1]["properties"]["storageProfile"]["osDiskImage"]["sizeInGB"]
        return Source(
            of["architecture"],
            of["hyperVGeneration"],
            tuple(controllers),
            size,
            of["osType"],
            plan,
            security=features.get("SecurityType", ""),
        )

    # -- the API ------------------------------------------------------------------------

    @implements(
        "virtual_machine_images.list", "GET", _VERSIONS, query=("$expand", "$top", "$orderby")
    )
    def list_versions(self, call: Call) -> Any:
        """Answer an array, without an object around it, as this list does."""
        image = self._require(call)
        # In alphabetical order, where 8.9 comes after 8.10 (Azure/azure-rest-api-specs#30142).
        versions = sorted(image.versions)
        if call.query.get("$orderby", "").replace("%20", " ") == "name desc":
            versions.reverse()
        versions = versions[: int(call.query.get("$top", len(versions)))]
        expanded = "properties" in call.query.get("$expand", "")
        return [self._version(call, image, version, is_full=expanded) for version in versions]

    # Real answers have more than the SDK's model: the size of the disk, and the replicas.
    @implements("virtual_machine_images.get", "GET", f"{_VERSIONS}/{{version}}")
    def get_version(self, call: Call) -> Any:
        image = self._require(call)
        if call.version not in image.versions:
            raise _not_found()
        return self._version(call, image, call.version, is_full=True)

    @implements("agreements.get", "GET", _TERMS)
    def get_terms(self, call: Call) -> Any:
        plans = [
            image.plan
            for image in self.all
            if image.plan
            and (image.plan.publisher, image.plan.product, image.plan.name)
            == (call.publisher, call.offer, call.plan)
        ]
        if not plans or plans[0] is None:
            text = f"Unable to find legal terms for this offer: {call.publisher}, {call.offer}"
            raise ArmError(400, "BadRequest", text)
        key = f"{call.publisher}/{call.offer}/{call.plan}"
        return {
            "id": call.path,
            "name": call.plan,
            "type": "Microsoft.MarketplaceOrdering/offertypes",
            "properties": {
                "publisher": call.publisher,
                "product": call.offer,
                "plan": call.plan,
                "licenseTextLink": "https://example.com/terms",
                "privacyPolicyLink": "https://example.com/privacy",
                "accepted": key in self.accepted,
                "signature": "A",
            },
        }

    @implements(
        "images.get",
        "GET",
        f"{GROUP}/providers/Microsoft.Compute/images/{{image}}",
        answer="compute.Image",
        query=("$expand",),
    )
    @implements("gallery_images.get", "GET", _GALLERY, answer="compute.GalleryImage")
    @implements(
        "gallery_image_versions.get",
        "GET",
        f"{_GALLERY}/versions/{{version}}",
        answer="compute.GalleryImageVersion",
        query=("$expand",),
    )
    def get(self, call: Call) -> Any:
        """Answer one of the user's own images, or a part of it."""
        self.arm.groups.require(call.group)
        document = self.arm.resources.find(call.path)
        if document is None:
            kinds, name = call.path.partition("Microsoft.Compute/")[2].split("/"), ""
            type, name = "/".join(kinds[::2]), "/".join(kinds[1::2])
            raise not_found(f"Microsoft.Compute/{type}", name, call.group)
        return document

    @implements(
        "gallery_image_versions.list_by_gallery_image",
        "GET",
        f"{_GALLERY}/versions",
        answer="compute.GalleryImageVersion[]",
    )
    def list_gallery_versions(self, call: Call) -> Any:
        self.arm.groups.require(call.group)
        found = self.arm.resources.of_type("Microsoft.Compute/galleries/images/versions")
        start = f"{call.path.lower()}/"
        return self.arm.page(call, [of for of in found if of["id"].lower().startswith(start)])

    def _require(self, call: Call) -> PlatformImage:
        self.arm.places.check(call.location)
        image = self._find(call.publisher, call.offer, call.sku)
        if image is None:
            raise _not_found()
        return image

    def _find(self, publisher: str, offer: str, sku: str) -> PlatformImage | None:
        wanted = f"{publisher}:{offer}:{sku}".lower()
        return next((image for image in self.all if image.urn.lower() == wanted), None)

    def _version(
        self, call: Call, image: PlatformImage, version: str, *, is_full: bool
    ) -> dict[str, Any]:
        id = (
            f"/Subscriptions/{call.subscription}/Providers/Microsoft.Compute/Locations/"
            f"{call.location}/Publishers/{image.publisher}/ArtifactTypes/VMImage/Offers/"
            f"{image.offer}/Skus/{image.sku}/Versions/{version}"
        )
        document: dict[str, Any] = {"id": id, "name": version, "location": call.location}
        return {**document, "properties": image.properties()} if is_full else document


def _not_found() -> ArmError:
    """Return what all of the marketplace's lists answer (danielsollondon/azvmimagebuilder#80)."""
    return ArmError(404, "NotFound", "Artifact: VMImage was not found.")
