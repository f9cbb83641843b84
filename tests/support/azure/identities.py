"""User-assigned managed identities, and the tokens that VMs get of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import Answer, Call
from tests.support.azure.entra import TENANT, Principal
from tests.support.azure.names import check_name
from tests.support.azure.resources import Document, ResourceType

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm
    from tests.support.azure.vm import Vm


class Identities(ResourceType):
    """All identities; a principal of each is in `Entra.principals`, by client id."""

    operations = "user_assigned_identities"
    type = "Microsoft.ManagedIdentity/userAssignedIdentities"
    model = "identities.Identity"
    list_in_group = "list_by_resource_group"
    list_everywhere = "list_by_subscription"

    def __init__(self, arm: Arm) -> None:
        super().__init__(arm)
        self.deleted: set[str] = set()
        """Object ids of identities that are no more; role assignments may still name them."""

    def add(self, name: str, *, group: str) -> Document:
        """Add one, as one that the user has."""
        document = self._new(self.arm.id_in(group, self.type, name), name, self.arm.location)
        return self.arm.resources.add(document, is_users=True)

    def principal(self, identity: Document) -> Principal:
        return self.arm.entra.principals[identity["properties"]["clientId"]]

    def put(self, call: Call) -> Any:
        """Make one, or change its tags: at once, without an operation."""
        self.arm.groups.require_open(call.group)
        check_name(self.type, call.name)
        old = self.arm.resources.find(call.path)
        location = self.arm.places.check_resource(self.type, call.body, old, call.group)
        document = old or self._new(self.arm.id_of(call), call.name, location)
        document["tags"] = dict(call.body.get("tags", {}))
        if not old:
            # The user keeps it: setup makes it, and only its undoing deletes it.
            self.arm.resources.add(document, is_users=True)
            # Others find its principal later ("Troubleshoot Azure RBAC": PrincipalNotFound).
            principal = document["properties"]["principalId"]
            self.arm.chance.born("a new principal", principal)
        return Answer(200 if old else 201, document)

    def delete(self, call: Call) -> Any:
        self.arm.groups.require(call.group)
        document = self.arm.resources.find(call.path)
        if document is None:
            return Answer(204)
        self.arm.resources.remove(document["id"])
        self.deleted.add(document["properties"]["principalId"])
        return Answer(200)

    def token(self, vm: Vm, client_id: str = "") -> tuple[int, dict[str, Any]]:
        """Return what the metadata server of a VM answers to who asks for a token of Azure's API.

        The shapes are those of "How to use managed identities to acquire an access token".
        """
        ids = [*vm.document.get("identity", {}).get("userAssignedIdentities", {})]
        found = [of for of in map(self.arm.resources.find, ids) if of]
        if client_id:
            found = [of for of in found if of["properties"]["clientId"] == client_id]
        if len(found) != 1:
            text = "Identity not found" if not found else "Multiple user assigned identities exist"
            return 400, {"error": "invalid_request", "error_description": text}
        principal = self.principal(found[0])
        expires = int(self.arm.timeline.now() + 86400)
        return 200, {
            "access_token": self.arm.entra.issue(principal),
            "client_id": principal.client_id,
            "expires_in": "86400",
            "expires_on": str(expires),
            "ext_expires_in": "86399",
            "not_before": str(expires - 86400),
            "resource": "https://management.azure.com/",
            "token_type": "Bearer",
        }

    def _new(self, id: str, name: str, location: str) -> Document:
        principal = Principal(self.arm.new_guid(), name, self.arm.new_guid())
        self.arm.entra.principals[principal.client_id] = principal
        properties = {
            "tenantId": TENANT,
            "principalId": principal.id,
            "clientId": principal.client_id,
        }
        return {
            "id": id,
            "name": name,
            "type": self.type,
            "location": location,
            "tags": {},
            "properties": properties,
        }
