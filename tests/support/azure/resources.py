"""What there is: all resources by their ids, and what resource types have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import GROUP, SUBSCRIPTION, Answer, Call, Handler, Route
from tests.support.azure.errors import not_found

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

Document = dict[str, Any]
"""A resource as it is answered."""
KEPT = {"microsoft.network/virtualnetworks", "microsoft.network/virtualnetworks/subnets"}
"""Types, in lower case, of what is kept for good because it costs nothing."""


@dataclass
class Resources:
    """All resources, found by id, whose case does not matter."""

    _all: dict[str, Document] = field(default_factory=dict)
    _of_user: set[str] = field(default_factory=set)

    def add(self, document: Document, *, is_users: bool = False) -> Document:
        """Add one, or replace it; a user's own is no leftover."""
        key = document["id"].lower()
        self._all[key] = document
        if is_users:
            self._of_user.add(key)
        return document

    def find(self, id: str) -> Document | None:
        return self._all.get(id.lower())

    def remove(self, id: str) -> None:
        self._all.pop(id.lower(), None)

    def of_type(self, type: str, *, group: str = "") -> list[Document]:
        """Return those of a type as ``Microsoft.Compute/disks``, by name."""
        found = [
            of
            for of in self._all.values()
            if of["type"].lower() == type.lower()
            and (not group or group_of(of["id"]).lower() == group.lower())
        ]
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
        return ("$expand",) if verb == "GET" else ()

    # -- what a type may say otherwise --------------------------------------------------

    def check(self, call: Call, new: Document, old: Document | None) -> None:
        """Raise `ArmError` if Azure would not make ``new``."""

    def complete(self, call: Call, new: Document, old: Document | None) -> None:
        """Add what a resource has that was not sent, before it is answered for the first time."""

    def finish(self, document: Document) -> None:
        """See that one has been made; raises `ArmError` if it has not."""

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
        group = self.arm.groups.require_open(call.group)
        old = self.arm.resources.find(call.path)
        new = {
            **call.body,
            "id": old["id"] if old else self.arm.id_of(call),
            "name": old["name"] if old else call.name,
            "type": self.type,
        }
        new["properties"] = {**call.body.get("properties", {})}
        self.check(call, new, old)
        self.complete(call, new, old)
        new["properties"]["provisioningState"] = "Updating" if old else "Creating"
        new["etag"] = f'W/"{self.arm.new_guid()}"'
        self.arm.resources.add(new)
        location = new.get("location", group["location"])

        def finish() -> None:
            if self.arm.resources.find(new["id"]) is new:
                self.finish(new)
                new["properties"]["provisioningState"] = "Succeeded"

        return self.arm.operations.begin(
            call, 200 if old else 201, self.view(new), location=location, finish=finish
        )

    def get(self, call: Call) -> Any:
        return self.view(self.find(call))

    def list(self, call: Call) -> Any:
        """Answer a page of those of a resource group, or of the subscription."""
        if call.group:
            self.arm.groups.require(call.group)
        found = self.arm.resources.of_type(self.type, group=call.group)
        return self.arm.page(call, [self.view(of) for of in found])

    def delete(self, call: Call) -> Any:
        self.arm.groups.require(call.group)
        document = self.arm.resources.find(call.path)
        if document is None:
            return Answer(204)  # there is none, as was wanted
        self.check_delete(document)
        document["properties"]["provisioningState"] = "Deleting"

        def finish() -> None:
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


def group_of(id: str) -> str:
    """Return the resource group that is in an id; "" if none is."""
    parts = id.strip("/").split("/")
    is_in_group = len(parts) > 3 and parts[2].lower() == "resourcegroups"
    return parts[3] if is_in_group else ""


def name_of(id: str) -> str:
    """Return the last part of an id."""
    return id.rpartition("/")[2]
