"""Definitions of roles, and their assignments, of which a new one is not heeded at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import GROUP, SUBSCRIPTION, Answer, Call, Handler, Route
from tests.support.azure.errors import ArmError

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

_DEFINITIONS = "Microsoft.Authorization/roleDefinitions"
_ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"
_SCOPES = (SUBSCRIPTION, GROUP, f"{GROUP}/providers/{{namespace}}/{{type}}/{{resource}}")
BUILT_IN = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": ("Owner", ["*"], []),
    "b24988ac-6180-42a0-ab88-20f7382dd24c": (
        "Contributor",
        ["*"],
        [
            *("Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write"),
            "Microsoft.Authorization/elevateAccess/Action",
        ],
    ),
    "acdd72a7-3385-48ef-bd42-f606fba81ae7": ("Reader", ["*/read"], []),
    "9980e02c-c2be-4d73-94e8-173b1dc7cf3c": (
        "Virtual Machine Contributor",
        [
            *("Microsoft.Authorization/*/read", "Microsoft.Compute/availabilitySets/*"),
            *("Microsoft.Compute/locations/*", "Microsoft.Compute/virtualMachines/*"),
            *("Microsoft.Compute/disks/write", "Microsoft.Compute/disks/read"),
            *("Microsoft.Compute/disks/delete", "Microsoft.DevTestLab/schedules/*"),
            *("Microsoft.Network/networkInterfaces/*", "Microsoft.Network/locations/*"),
            "Microsoft.Network/networkSecurityGroups/join/action",
            "Microsoft.Network/networkSecurityGroups/read",
            "Microsoft.Network/publicIPAddresses/join/action",
            "Microsoft.Network/publicIPAddresses/read",
            "Microsoft.Network/virtualNetworks/read",
            "Microsoft.Network/virtualNetworks/subnets/join/action",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
        ],
        [],
    ),
}
"""Roles that there are in each tenant: name, actions, and what is taken from them; by id."""
_PRINCIPAL = re.compile(r"(?:principalId eq|assignedTo\()\s*'([^']*)'\)?")
_NAME = re.compile(r"roleName eq '([^']*)'")


@dataclass
class Roles:
    """All definitions and assignments, by their ids in lower case."""

    arm: Arm
    definitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    assignments: dict[str, dict[str, Any]] = field(default_factory=dict)

    # -- for tests and others -----------------------------------------------------------

    def grant(self, principal: str, actions: Sequence[str], *, scope: str) -> None:
        """Give somebody a role of the user's own."""
        role, name = self.arm.new_guid(), self.arm.new_guid()
        properties: dict[str, Any] = {
            "roleName": f"own {role}",
            "type": "CustomRole",
            "assignableScopes": [scope],
            "permissions": [{"actions": [*actions], "notActions": []}],
        }
        id = f"{scope}/providers/{_DEFINITIONS}/{role}"
        self.definitions[role] = {"id": id, "name": role, "properties": properties}
        properties = {
            "roleDefinitionId": id,
            "principalId": principal,
            "principalType": "ServicePrincipal",
            "scope": scope,
        }
        id = f"{scope}/providers/{_ASSIGNMENTS}/{name}"
        self.assignments[name] = {"id": id, "name": name, "properties": properties}

    def leftovers(self) -> list[str]:
        """List the user's own roles and their assignments, which only setup makes."""
        roles = [f"role {of['properties']['roleName']}" for of in self.definitions.values()]
        return sorted([*roles, *(f"role assignment {of['name']}" for of in self._ours())])

    def of_principal(self, principal: str, scope: str) -> Iterator[Mapping[str, Any]]:
        """Yield the permissions that somebody has for something: of it, or of what it is in."""
        for assignment in self.assignments.values():
            properties = assignment["properties"]
            above = properties["scope"].lower().rstrip("/")
            if properties["principalId"] != principal:
                continue
            if scope.lower() != above and not scope.lower().startswith(f"{above}/"):
                continue
            if self.arm.chance.hides("a new role assignment", assignment["name"]):
                continue  # "up to 10 minutes"
            yield from self._permissions(properties["roleDefinitionId"])

    def routes(self) -> Iterator[tuple[Route, Handler]]:
        for scope in _SCOPES:
            for kind, type, answer, new, handlers in (
                (
                    "role_definitions",
                    _DEFINITIONS,
                    "authorization.RoleDefinition",
                    "authorization.RoleDefinition",
                    (self.put_definition, self.get_definition, self.delete_definition),
                ),
                (
                    "role_assignments",
                    _ASSIGNMENTS,
                    "authorization.RoleAssignment",
                    "authorization.RoleAssignmentCreateParameters",
                    (self.put_assignment, self.get_assignment, self.delete_assignment),
                ),
            ):
                one = f"{scope}/providers/{type}/{{id}}"
                put, get, delete = handlers
                verb = "create_or_update" if kind == "role_definitions" else "create"
                yield Route(f"{kind}.{verb}", "PUT", one, new, answer), put
                yield Route(f"{kind}.get", "GET", one, "", answer), get
                yield Route(f"{kind}.delete", "DELETE", one, "", answer), delete
            every = f"{scope}/providers/{_DEFINITIONS}"
            page = "authorization.RoleDefinition[]"
            yield (
                Route("role_definitions.list", "GET", every, "", page, ("$filter",)),
                self.list_definitions,
            )
            every = f"{scope}/providers/{_ASSIGNMENTS}"
            page = "authorization.RoleAssignment[]"
            query = ("$filter", "tenantId")
            yield (
                Route("role_assignments.list_for_scope", "GET", every, "", page, query),
                self.list_assignments,
            )

    # -- the API ------------------------------------------------------------------------

    def put_definition(self, call: Call) -> Any:
        given = call.body["properties"]
        name = given.get("roleName", "")
        for of in self.definitions.values():
            if of["name"] != call.id and of["properties"]["roleName"].lower() == name.lower():
                text = (
                    "A custom role with the same name already exists in this directory. Use a "
                    "different name."
                )
                raise ArmError(409, "RoleDefinitionWithSameNameExists", text)
        if not given.get("assignableScopes"):
            text = "The role definition must have at least one assignable scope."
            raise ArmError(400, "InvalidRoleDefinition", text)
        permissions = [
            {key: [*of.get(key, [])] for key in _KINDS} for of in given.get("permissions", [])
        ]
        unknown = [
            action
            for of in permissions
            for action in of["actions"]
            if not re.fullmatch(r"(\*|Microsoft\.[A-Za-z]+)(/[\w*]+)*", action)
        ]
        if unknown:
            text = f"'{unknown[0]}' does not match any of the actions supported by the providers."
            raise ArmError(400, "InvalidActionOrNotAction", text)
        document = {
            "id": f"{_scope_of(call)}/providers/{_DEFINITIONS}/{call.id}",
            "name": call.id,
            "type": _DEFINITIONS,
            "properties": {
                "roleName": name,
                "type": "CustomRole",
                "description": given.get("description", ""),
                "assignableScopes": [*given["assignableScopes"]],
                "permissions": permissions,
                "createdOn": self.arm.timeline.timestamp(),
                "updatedOn": self.arm.timeline.timestamp(),
            },
        }
        self.definitions[call.id.lower()] = document
        self.arm.chance.born("a new role", call.id.lower())
        return Answer(201, document)

    def get_definition(self, call: Call) -> Any:
        found = self._definition(call.id)
        if found is None:
            text = f"The specified role definition with ID '{call.id}' does not exist."
            raise ArmError(404, "RoleDefinitionDoesNotExist", text)
        return found

    def delete_definition(self, call: Call) -> Any:
        used = [of for of in self.assignments.values() if _last(of, "roleDefinitionId") == call.id]
        if used:
            text = "There are existing role assignments referencing role."
            raise ArmError(400, "RoleDefinitionHasAssignments", text)
        found = self.definitions.pop(call.id.lower(), None)
        return Answer(204) if found is None else found

    def list_definitions(self, call: Call) -> Any:
        wanted = _NAME.search(call.query.get("$filter", ""))
        all = [*self.definitions.values(), *(self._built_in(id) for id in BUILT_IN)]
        found = [of for of in all if not wanted or of["properties"]["roleName"] == wanted[1]]
        return self.arm.page(call, found)

    def put_assignment(self, call: Call) -> Any:
        given = call.body["properties"]
        role = given["roleDefinitionId"].rpartition("/")[2].lower()
        scope = _scope_of(call)
        if self._definition(role) is None or self.arm.chance.hides("a new role", role):
            text = f"The specified role definition with ID '{role}' does not exist."
            raise ArmError(404, "RoleDefinitionDoesNotExist", text)
        self._check_principal(given["principalId"], given.get("principalType", ""))
        for of in self.assignments.values():
            known = of["properties"]
            same = (known["principalId"], known["scope"].lower())
            if (
                same == (given["principalId"], scope.lower())
                and _last(of, "roleDefinitionId") == role
            ):
                if of["name"] == call.id:
                    return of  # "create" with the same name is an update, which changes nothing
                text = (
                    "The role assignment already exists. The ID of the conflicting role "
                    f"assignment is {of['name'].replace('-', '')}."
                )
                raise ArmError(409, "RoleAssignmentExists", text)
        if call.id.lower() in self.assignments:
            text = (
                "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."
            )
            raise ArmError(400, "RoleAssignmentUpdateNotPermitted", text)
        document = {
            "id": f"{scope}/providers/{_ASSIGNMENTS}/{call.id}",
            "name": call.id,
            "type": _ASSIGNMENTS,
            "properties": {
                "roleDefinitionId": given["roleDefinitionId"],
                "principalId": given["principalId"],
                "principalType": given.get("principalType", "ServicePrincipal"),
                "scope": scope,
                "createdOn": self.arm.timeline.timestamp(),
                "updatedOn": self.arm.timeline.timestamp(),
                "createdBy": call.user.id,
                "updatedBy": call.user.id,
            },
        }
        if given.get("description"):
            document["properties"]["description"] = given["description"]
        self.assignments[call.id.lower()] = document
        self.arm.chance.born("a new role assignment", call.id)
        return Answer(201, document)

    def get_assignment(self, call: Call) -> Any:
        if call.id.lower() not in self.assignments:
            text = f"The role assignment '{call.id}' is not found."
            raise ArmError(404, "RoleAssignmentNotFound", text)
        return self.assignments[call.id.lower()]

    def delete_assignment(self, call: Call) -> Any:
        found = self.assignments.pop(call.id.lower(), None)
        return Answer(204) if found is None else found

    def list_assignments(self, call: Call) -> Any:
        """Answer those of a scope, and of those above and below it, as without ``atScope()``."""
        text, scope = call.query.get("$filter", ""), _scope_of(call).lower()
        wanted = _PRINCIPAL.search(text)
        found = []
        for of in self.assignments.values():
            place = of["properties"]["scope"].lower()
            is_near = place.startswith(scope) if "atScope()" not in text else False
            if not is_near and not scope.startswith(place):
                continue
            if not wanted or of["properties"]["principalId"] == wanted[1]:
                found.append(of)
        return self.arm.page(call, found)

    # -- helpers ------------------------------------------------------------------------

    def _check_principal(self, id: str, kind: str) -> None:
        """Refuse a principal that is not found yet, unless it is said what it is."""
        known = {principal.id for principal in self.arm.entra.principals.values()}
        is_new = self.arm.chance.hides("a new principal", id)
        if id not in known or (is_new and not kind):
            text = (
                f"Principal {id.replace('-', '')} does not exist in the directory "
                f"{self.arm.places.tenants[self.arm.subscription]}. Check that you have the "
                "correct principal ID. If you are creating this principal and then immediately "
                "assigning a role, this error might be related to a replication delay. In this "
                "case, set the role assignment principalType property to a value, such as "
                "ServicePrincipal, User, or Group.  See https://aka.ms/docs-principaltype"
            )
            raise ArmError(400, "PrincipalNotFound", text)

    def _permissions(self, role: str) -> Iterator[Mapping[str, Any]]:
        definition = self._definition(role.rpartition("/")[2])
        if definition:
            yield from definition["properties"]["permissions"]

    def _definition(self, id: str) -> dict[str, Any] | None:
        if id.lower() in BUILT_IN:
            return self._built_in(id.lower())
        return self.definitions.get(id.lower())

    def _built_in(self, id: str) -> dict[str, Any]:
        name, actions, less = BUILT_IN[id]
        permission = {
            "actions": [*actions],
            "notActions": [*less],
            "dataActions": [],
            "notDataActions": [],
        }
        return {
            "id": f"/subscriptions/{self.arm.subscription}/providers/{_DEFINITIONS}/{id}",
            "name": id,
            "type": _DEFINITIONS,
            "properties": {
                "roleName": name,
                "type": "BuiltInRole",
                "description": "",
                "assignableScopes": ["/"],
                "permissions": [permission],
            },
        }

    def _ours(self) -> Iterator[Mapping[str, Any]]:
        yield from self.assignments.values()


_KINDS = ("actions", "notActions", "dataActions", "notDataActions")


def _scope_of(call: Call) -> str:
    return call.path.rpartition("/providers/Microsoft.Authorization")[0]


def _last(document: Mapping[str, Any], key: str) -> str:
    return str(document["properties"][key]).rpartition("/")[2].lower()
