"""Resource groups: a new one is not seen by all requests at first, and deleting one takes long."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import GROUP, SUBSCRIPTION, Answer, Call, implements
from tests.support.azure.errors import ArmError, group_not_found
from tests.support.azure.names import check_name
from tests.support.azure.resources import Document

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

TYPE = "Microsoft.Resources/resourceGroups"


@dataclass
class Groups:
    """All resource groups of the subscription, by their names in lower case."""

    arm: Arm
    all: dict[str, Document] = field(default_factory=dict)
    delete_seconds: float = 0.1
    """How long it takes to delete one; really, some ten minutes (ray-project/ray#25971)."""

    def add(self, name: str, *, location: str = "", tags: dict[str, str] | None = None) -> Document:
        """Add one, as one that the user has."""
        document = {
            "id": f"/subscriptions/{self.arm.subscription}/resourceGroups/{name}",
            "name": name,
            "type": TYPE,
            "location": location or self.arm.location,
            "tags": tags or {},
            "properties": {"provisioningState": "Succeeded"},
        }
        self.all[name.lower()] = document
        return document

    def require(self, name: str) -> Document:
        """Return one that a request for something in it needs; raises `ArmError`.

        For a while after it was made, some of them don't find it
        (hashicorp/terraform-provider-azurerm#18268).
        """
        document = self.all.get(name.lower())
        if document is None or self.arm.chance.hides("in a new resource group", name.lower()):
            raise group_not_found(name)
        return document

    def require_open(self, name: str) -> Document:
        """Return one in which something is to be made: it must not be being deleted."""
        document = self.require(name)
        if document["properties"]["provisioningState"] == "Deleting":
            raise _being_deleted(name)
        return document

    @implements(
        "resource_groups.create_or_update",
        "PUT",
        GROUP,
        body="resources.ResourceGroup",
        answer="resources.ResourceGroup",
    )
    def put(self, call: Call) -> Any:
        check_name(TYPE, call.group)
        old = self.all.get(call.group.lower())
        if old and old["properties"]["provisioningState"] == "Deleting":
            raise _being_deleted(call.group)
        location = self.arm.places.check(call.body["location"])
        if old and old["location"] != location:
            text = (
                f"Invalid resource group location '{location}'. The Resource group already exists "
                f"in location '{old['location']}'."
            )
            raise ArmError(409, "InvalidResourceGroupLocation", text)
        document = self.add(
            old["name"] if old else call.group, location=location, tags=call.body.get("tags", {})
        )
        if not old:
            self.arm.chance.born("in a new resource group", call.group.lower())
        return Answer(200 if old else 201, document)

    @implements("resource_groups.get", "GET", GROUP, answer="resources.ResourceGroup")
    def get(self, call: Call) -> Any:
        if call.group.lower() not in self.all:
            raise group_not_found(call.group)
        return self.all[call.group.lower()]

    @implements(
        "resource_groups.list",
        "GET",
        f"{SUBSCRIPTION}/resourceGroups",
        answer="resources.ResourceGroup[]",
    )
    def list(self, call: Call) -> Any:
        return self.arm.page(call, sorted(self.all.values(), key=lambda of: str(of["name"])))

    @implements("resource_groups.delete", "DELETE", GROUP)
    def delete(self, call: Call) -> Any:
        document = self.get(call)
        document["properties"]["provisioningState"] = "Deleting"

        def finish() -> None:
            for resource in self.arm.resources.in_group(call.group):
                self.arm.resources.remove(resource["id"])
                self.arm.removed(resource)
            self.all.pop(call.group.lower(), None)

        return self.arm.operations.begin(
            call, 202, location=document["location"], finish=finish, seconds=self.delete_seconds
        )


def _being_deleted(name: str) -> ArmError:
    text = (
        f"The resource group '{name}' is in deprovisioning state and cannot perform this operation."
    )
    return ArmError(409, "ResourceGroupBeingDeleted", text)
