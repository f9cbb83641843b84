"""What there is: all resources by their ids, and what resource types have in common."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import GROUP, SUBSCRIPTION, Answer, Call, Handler, Route
from tests.support.azure.errors import ArmError, not_found
from tests.support.azure.names import check_name
from tests.support.emulation.chance import Chance

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

Document = dict[str, Any]
"""A resource as it is answered."""
KEPT = {"microsoft.network/virtualnetworks", "microsoft.network/virtualnetworks/subnets"}
"""Types, in lower case, of what is kept for good because it costs nothing."""


@dataclass
class Resources:
    """All resources, found by id, whose case does not matter.

    Lists lag behind: they don't have what is new, and still have what was deleted
    (cloudfoundry/bosh-azure-cpi-release#765).
    """

    chance: Chance
    _all: dict[str, Document] = field(default_factory=dict)
    _deleted: dict[str, Document] = field(default_factory=dict)
    _of_user: set[str] = field(default_factory=set)

    def add(self, document: Document, *, is_users: bool = False) -> Document:
        """Add one, or replace it; a user's own is no leftover."""
        key = document["id"].lower()
        if key not in self._all and not is_users:
            self.chance.born("listed", key)
        self._deleted.pop(key, None)
        self._all[key] = document
        if is_users:
            self._of_user.add(key)
        return document

    def find(self, id: str) -> Document | None:
        return self._all.get(id.lower())

    def remove(self, id: str) -> None:
        document = self._all.pop(id.lower(), None)
        if document is not None:
            self._deleted[id.lower()] = copy.deepcopy(document)
            self.chance.born("listed although deleted", id.lower())

    def listed(self, type: str, *, group: str = "") -> list[Document]:
        """Return what a list of a type has at this moment, by name."""
        ghosts = [
            of
            for key, of in self._deleted.items()
            if _is_of(of, type, group) and self.chance.hides("listed although deleted", key)
        ]
        found = [
            of
            for of in self.of_type(type, group=group)
            if not self.chance.hides("listed", of["id"].lower())
        ]
        return sorted([*found, *ghosts], key=lambda of: str(of["name"]).lower())

    def of_type(self, type: str, *, group: str = "") -> list[Document]:
        """Return those of a type as ``Microsoft.Compute/disks``, by name."""
        found = [of for of in self._all.values() if _is_of(of, type, group)]
        return sorted(found, key=lambda of: str(of["name"]).lower())

    def in_group(self, group: str) -> list[Document]:
        """Return all that a resource group has."""
        return [of for of in self._all.values() if group_of(of["id"]).lower() == group.lower()]

    def of_session(self) -> Iterator[Document]:
        """Yield what a session makes and must delete: what costs, and what is its own."""
        for key, document in self._all.items():
            if key not in self._of_user and document["type"].lower() not in KEPT:
                yield document


class ResourceType:
    """A type of resources: a PUT makes one, and the rest is as for all types.

    A subclass says what else Azure checks (`check`), what a new one has beside what was sent
    (`complete`), and what keeps one from being deleted (`check_delete`).
    """

    operations: str
    """The SDK's name of its operations, as ``disks``."""
    type: str
    """As ``Microsoft.Compute/disks``."""
    model: str
    """As ``compute.Disk``."""
    list_in_group = "list"
    list_everywhere = "list_all"
    created = 201
    """The status with which a new one is answered."""
    has_etag = True

    def __init__(self, arm: Arm) -> None:
        self.arm = arm

    def routes(self) -> Iterator[tuple[Route, Handler]]:
        """Yield the operations that each type has."""
        all_of_group = f"{GROUP}/providers/{self.type}"
        one, page = f"{all_of_group}/{{name}}", f"{self.model}[]"
        everywhere = f"{SUBSCRIPTION}/providers/{self.type}"

        def route(name: str, verb: str, path: str, *, body: str = "", answer: str = "") -> Route:
            return Route(f"{self.operations}.{name}", verb, path, body, answer, self.query(verb))

        model = self.model
        yield route("create_or_update", "PUT", one, body=model, answer=model), self.put
        yield route("get", "GET", one, answer=model), self.get
        yield route("delete", "DELETE", one), self.delete
        yield route(self.list_in_group, "GET", all_of_group, answer=page), self.list
        yield route(self.list_everywhere, "GET", everywhere, answer=page), self.list

    def query(self, verb: str) -> Sequence[str]:
        """Return the parameters that requests may have."""
        return ()

    # -- what a type may say otherwise --------------------------------------------------

    def check(self, call: Call, new: Document, old: Document | None) -> None:
        """Raise `ArmError` if Azure would not make ``new``."""

    def complete(self, call: Call, new: Document, old: Document | None) -> None:
        """Add what a resource has that was not sent, before it is answered for the first time."""

    def finish(self, document: Document) -> None:
        """See that one has been made, or changed."""

    def check_delete(self, document: Document) -> None:
        """Raise `ArmError` if one can't be deleted now."""

    def removed(self, document: Document) -> None:
        """See that one has been deleted."""

    def view(self, document: Document) -> Document:
        """Return one as it is answered, with what others know of it."""
        return document

    # -- operations ---------------------------------------------------------------------

    def put(self, call: Call) -> Any:
        """Make one, or change it."""
        self.arm.groups.require_open(call.group)
        old = self.arm.resources.find(call.path)
        new = {
            **call.body,
            "id": old["id"] if old else self.arm.id_of(call),
            "name": old["name"] if old else call.name,
            "type": self.type,
        }
        new["properties"] = {**call.body.get("properties", {})}
        check_name(self.type, call.name)
        new["location"] = self.arm.places.check_resource(self.type, new, old, call.group)
        self.arm.operations.check_idle(new["id"])
        self.check(call, new, old)
        self.complete(call, new, old)
        new["properties"]["provisioningState"] = "Updating" if old else "Creating"
        if self.has_etag:
            new["etag"] = new_etag()
        self.arm.resources.add(new)

        def finish() -> None:
            if self.arm.resources.find(new["id"]) is new:
                self.finish(new)
                new["properties"]["provisioningState"] = "Succeeded"

        return self.arm.operations.begin(
            call,
            200 if old else self.created,
            self.view(new),
            location=new["location"],
            finish=finish,
        )

    def get(self, call: Call) -> Any:
        return self.view(self.find(call))

    def list(self, call: Call) -> Any:
        """Answer a page of those of a resource group, or of the subscription."""
        if call.group:
            self.arm.groups.require(call.group)
        found = self.arm.resources.listed(self.type, group=call.group)
        return self.arm.page(call, [self.view(of) for of in found])

    def delete(self, call: Call) -> Any:
        self.arm.groups.require(call.group)
        document = self.arm.resources.find(call.path)
        if document is None:
            return Answer(204)  # there is none, as was wanted
        self.arm.operations.check_idle(document["id"])
        self.check_delete(document)
        document["properties"]["provisioningState"] = "Deleting"

        def finish() -> None:
            if self.arm.resources.find(document["id"]) is document:
                self.arm.resources.remove(document["id"])
                self.removed(document)

        return self.arm.operations.begin(call, 202, location=document["location"], finish=finish)

    def find(self, call: Call) -> Document:
        """Return the one that a path leads to; raises `ArmError`."""
        self.arm.groups.require(call.group)
        document = self.arm.resources.find(call.path)
        if document is None:
            raise not_found(self.type, call.name, call.group)
        return document


def _is_of(document: Document, type: str, group: str) -> bool:
    is_there = not group or group_of(document["id"]).lower() == group.lower()
    return is_there and str(document["type"]).lower() == type.lower()


def check_ready(document: Document, user: str) -> None:
    """Refuse what names a resource that is being made or changed, as Network does for a while.

    The shape is that of hashicorp/terraform-provider-azurerm#30197.
    """
    state = document["properties"].get("provisioningState", "Succeeded")
    if state in ("Creating", "Updating"):
        text = (
            f"Cannot proceed with operation because resource {document['id']} used by resource "
            f"{user} is not in Succeeded state. Resource is in Updating state and the last "
            "operation that updated/is updating the resource is "
            f"Put{document['type'].rpartition('/')[2]}Operation."
        )
        details = [{"code": "ReferencedResourceNotProvisioned", "message": text}]
        raise ArmError(429, "RetryableError", "A retryable error occurred.", details=details)


def group_of(id: str) -> str:
    """Return the resource group that is in an id; "" if none is."""
    parts = id.strip("/").split("/")
    is_in_group = len(parts) > 3 and parts[2].lower() == "resourcegroups"
    return parts[3] if is_in_group else ""


def new_etag() -> str:
    return f'W/"{uuid.uuid4()}"'
