"""Public IP addresses: Standard ones, which are static, and billed as long as they exist."""

from __future__ import annotations

from tests.support.azure.calls import Call
from tests.support.azure.errors import ArmError
from tests.support.azure.resources import Document, ResourceType, new_etag


class Addresses(ResourceType):
    """Public IP addresses."""

    operations = "public_ip_addresses"
    type = "Microsoft.Network/publicIPAddresses"
    model = "network.PublicIPAddress"

    def all(self) -> list[Document]:
        return self.arm.resources.of_type(self.type)

    def make(self, address: Document) -> Document:
        """Make one that a virtual machine's own request asks for; raises `ArmError`."""
        self._check(address)
        self._complete(address)
        address["properties"]["provisioningState"] = "Succeeded"
        address["etag"] = new_etag()
        return self.arm.resources.add(address)

    def check(self, call: Call, new: Document, old: Document | None) -> None:
        new["sku"] = {"name": "Basic", **new.get("sku", {})}
        if not old:
            self._check(new)

    def complete(self, call: Call, new: Document, old: Document | None) -> None:
        self._complete(new)
        if old:
            new["properties"]["ipAddress"] = old["properties"]["ipAddress"]
        new["properties"].pop("deleteOption", None)  # azure-rest-api-specs#25475

    def view(self, document: Document) -> Document:
        user = self.arm.interfaces.user_of_address(document["id"])
        if user is None:
            return document
        properties = {**document["properties"], "ipConfiguration": {"id": user["id"]}}
        return {**document, "properties": properties}

    def check_delete(self, document: Document) -> None:
        user = self.arm.interfaces.user_of_address(document["id"])
        if user:
            raise ArmError(
                400,
                "PublicIPAddressCannotBeDeleted",
                f"Public IP address {document['id']} can not be deleted since it is still "
                f"allocated to resource {user['id']}. In order to delete the public IP, "
                "disassociate/detach the Public IP address from the resource.  To learn how to do "
                "this, see aka.ms/deletepublicip.",
            )

    def _check(self, document: Document) -> None:
        if document["sku"]["name"] == "Basic":
            # Retired on 30 September 2025; before, its limit became 0 (skypilot#7977).
            raise ArmError(
                400,
                "IPv4BasicSkuPublicIpCountLimitReached",
                "Cannot create more than 0 IPv4 Basic SKU public IP addresses for this "
                "subscription in this region.",
            )
        if document["properties"].get("publicIPAllocationMethod") != "Static":
            raise ArmError(
                400,
                "PublicIPAddressWithStandardSkuMustBeStatic",
                f"Standard sku publicIp {document['id']} must have AllocationMethod set to Static.",
            )
        self.arm.quotas.check_address(document["location"])

    def _complete(self, document: Document) -> None:
        properties = document["properties"]
        properties.setdefault("publicIPAddressVersion", "IPv4")
        properties.setdefault("idleTimeoutInMinutes", 4)
        properties["ipAddress"] = self.arm.new_public_address()
        properties["resourceGuid"] = self.arm.new_guid()
        document["sku"].setdefault("tier", "Regional")
