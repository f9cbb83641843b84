"""Managed disks: made with virtual machines, and left where they are not deleted with them."""

from __future__ import annotations

from typing import Any

from tests.support.azure.calls import Call
from tests.support.azure.errors import ArmError, invalid
from tests.support.azure.resources import Document, ResourceType


class Disks(ResourceType):
    """Managed disks."""

    operations = "disks"
    type = "Microsoft.Compute/disks"
    model = "compute.Disk"
    list_in_group = "list_by_resource_group"
    list_everywhere = "list"
    created = 202
    has_etag = False

    def all(self) -> list[Document]:
        return self.arm.resources.of_type(self.type)

    def of_vm(self, vm: str) -> list[Document]:
        """Return those that are attached to a virtual machine, by its id."""
        return [of for of in self.all() if of.get("managedBy", "").lower() == vm.lower()]

    def create_for(
        self,
        vm: Document,
        name: str,
        *,
        group: str,
        size_gb: int,
        sku: str,
        tags: dict[str, str] | None = None,
        **properties: Any,
    ) -> Document:
        """Make one that is attached to a virtual machine.

        It does not inherit tags (openclaw/crabbox#1451).
        """
        document: Document = {
            "id": self.arm.id_in(group, self.type, name),
            "name": name,
            "type": self.type,
            "location": vm["location"],
            "managedBy": vm["id"],
            "sku": {"name": sku, "tier": sku.partition("_")[0]},
            "properties": {
                "creationData": {"createOption": "Empty"},
                "diskSizeGB": size_gb,
                **properties,
                "provisioningState": "Succeeded",
            },
        }
        if tags:
            document["tags"] = tags
        if vm.get("zones"):
            document["zones"] = vm["zones"]
        self._complete(document)
        return self.arm.resources.add(document)

    def release(self, disk: Document, *, is_deleted: bool) -> None:
        """Take one from its virtual machine, and delete it if that was asked for."""
        disk.pop("managedBy", None)
        disk["properties"]["diskState"] = "Unattached"
        if is_deleted:
            self.arm.resources.remove(disk["id"])

    def check(self, call: Call, new: Document, old: Document | None) -> None:
        size = new["properties"].get("diskSizeGB", 0)
        if new["properties"]["creationData"]["createOption"] == "Empty" and not 1 <= size <= 65536:
            raise invalid("disk.diskSizeGB", size, "The value must be between 1 and 65536.")

    def complete(self, call: Call, new: Document, old: Document | None) -> None:
        new["sku"] = {"name": "Standard_LRS", **new.get("sku", {})}
        new["sku"]["tier"] = new["sku"]["name"].partition("_")[0]
        if old and "managedBy" in old:
            new["managedBy"] = old["managedBy"]
        self._complete(new)

    def check_delete(self, document: Document) -> None:
        if vm := document.get("managedBy"):
            text = f"Disk {document['name']} is attached to VM {vm}."
            raise ArmError(409, "OperationNotAllowed", text)

    def _complete(self, document: Document) -> None:
        properties = document["properties"]
        properties["diskState"] = "Attached" if "managedBy" in document else "Unattached"
        properties["timeCreated"] = self.arm.timeline.timestamp()
        properties["diskSizeBytes"] = properties.get("diskSizeGB", 30) * 1024**3
        properties["uniqueId"] = self.arm.new_guid()
