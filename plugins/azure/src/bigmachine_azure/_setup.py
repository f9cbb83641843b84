"""What ``bigmachine azure setup`` makes once in a resource group, and what ``--undo`` removes.

A user-assigned identity, a custom role, and the assignment that gives the role to the identity. A
system-assigned identity would need an assignment for each VM: the rights of an owner for each
driver, and ten minutes for each start ("Troubleshoot Azure RBAC").
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import poll_intervals
from bigmachine.errors import StartError

from .api._errors import AzureError
from .api._resource_ids import normal_id
from .options._option_formats import TAG_PREFIX
from .plan._identity import DELETE_VM, IDENTITIES_VERSION, IDENTITY, TYPE
from .plan._registration import PROVIDERS, register
from .plan._roles import AUTHORIZATION_VERSION
from .resources._resource_group import open_resource_group

if TYPE_CHECKING:
    from .api._api import Api
    from .api._place import Place
    from .options._options import AzureOptions

# To delete a VM that has `deleteOption: Delete` may need the rights to delete what goes with it,
# which Azure does not document; without a VM that uses them they delete leftovers of bigmachine's
# resource group only.
ACTIONS = (
    "Microsoft.Compute/virtualMachines/read",
    DELETE_VM,
    "Microsoft.Compute/disks/delete",
    "Microsoft.Network/networkInterfaces/delete",
    "Microsoft.Network/publicIPAddresses/delete",
)
"""What the role permits."""
MADE_BY = TAG_PREFIX + "setup"
"""A tag of the identity, so that undoing removes no other."""
_PROVIDERS = (*PROVIDERS, "Microsoft.ManagedIdentity", "Microsoft.DevTestLab")
_ROLES = "providers/Microsoft.Authorization/roleDefinitions"
_ASSIGNMENTS = "providers/Microsoft.Authorization/roleAssignments"
# A new principal, role or resource group is found everywhere within minutes ("Troubleshoot Azure
# RBAC"; terraform-provider-azurerm issue 18268), and so it is with what was removed.
_SECONDS = 300.0
_NOT_YET = {
    "principalnotfound",
    "resourcegroupnotfound",
    "roledefinitiondoesnotexist",
    "roledefinitionhasassignments",
}
_READ_SECONDS = 10.0  # for what should be there, and is not found

Say = Callable[[str], object]


class Setup:
    """The identity, role and assignment of one resource group. ``say`` tells of each step."""

    def __init__(self, api: Api, o: AzureOptions, place: Place, say: Say) -> None:
        self._api = api
        self._options = o
        self._place = place
        self._say = say
        self._group = api.group_id()
        self._identity = f"{self._group}/providers/{TYPE}/{IDENTITY}"
        # Always the same, so that a second setup changes nothing, and undoing finds it.
        self._role = f"{self._group}/{_ROLES}/{_guid(self._group, 'role')}"

    async def make(self) -> None:
        """Make what there is not yet. Raises `AzureError`; then nothing that is new is left."""
        api, o = self._api, self._options
        for namespace in await register(api, _PROVIDERS):
            self._say(f"registered {namespace} for the subscription")
        await open_resource_group(api, location=self._place.location, tags=o.own_tags)
        has_role = await self._find(self._role, AUTHORIZATION_VERSION) is not None
        had_identity = await self._find(self._identity, IDENTITIES_VERSION) is not None
        try:
            await self._make_role()  # who may not do that may not do the rest
            self._say(f"{'found' if has_role else 'created'} the role {self._role_name!r}")
            identity = await self._make_identity() if not had_identity else None
            identity = identity or await self._find(self._identity, IDENTITIES_VERSION)
            assert identity is not None
            self._say(f"{'found' if had_identity else 'created'} the identity {IDENTITY!r}")
            await self._assign(identity["properties"]["principalId"])
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._take_back(has_role=has_role, had_identity=had_identity)
            raise
        self._say(f"the identity may delete VMs in the resource group {api.resource_group}")
        self._say(
            "sessions there use it from now on: `bigmachine check azure`, with the same options, "
            "shows whether they would work"
        )

    async def undo(self) -> None:
        """Remove what `make` has made: nothing else, and not the resource group.

        Raises `StartError` while VMs use the identity, and `AzureError`.
        """
        role = await self._find(self._role, AUTHORIZATION_VERSION)
        identity = await self._find(self._identity, IDENTITIES_VERSION)
        with trio.move_on_after(_READ_SECONDS if role else 0.0):  # it may be new
            while identity is None:
                await trio.sleep(1)
                identity = await self._find(self._identity, IDENTITIES_VERSION)
        if identity is not None:
            await self._check_unused()
        for id in await self._assignments():
            await self._api.request("DELETE", id, api_version=AUTHORIZATION_VERSION)
            self._say("removed the role from the identity")
        if role is not None:
            await self._change("DELETE", self._role, AUTHORIZATION_VERSION)
            self._say(f"deleted the role {self._role_name!r}")
        if identity is not None and MADE_BY not in (identity.get("tags") or {}):
            self._say(f"kept the identity {IDENTITY!r}, which somebody else has created")
        elif identity is not None:
            await self._api.request("DELETE", self._identity, api_version=IDENTITIES_VERSION)
            self._say(f"deleted the identity {IDENTITY!r}")
        group = self._api.resource_group
        if not (role or identity):
            where = " in the" if self._place.has_group else ": there is no"
            self._say(f"there is nothing to undo{where} resource group {group}")
        if self._place.has_group:
            self._say(f"the resource group {group} is kept, with its network: they cost nothing")

    @property
    def _role_name(self) -> str:
        """The role's name, which must be unique in the tenant."""
        return f"bigmachine in {self._api.resource_group} of {self._api.subscription}"

    async def _make_role(self) -> None:
        body = {
            "properties": {
                "roleName": self._role_name,
                "description": "Machines of bigmachine delete their own VMs.",
                "assignableScopes": [self._group],
                "permissions": [{"actions": [*ACTIONS], "notActions": []}],
            }
        }
        await self._change("PUT", self._role, AUTHORIZATION_VERSION, body)

    async def _make_identity(self) -> dict[str, Any]:
        body = {
            "location": self._place.location,
            "tags": {**self._options.own_tags, MADE_BY: "identity"},
        }
        return await self._change("PUT", self._identity, IDENTITIES_VERSION, body)

    async def _assign(self, principal: str) -> None:
        id = f"{self._group}/{_ASSIGNMENTS}/{_guid(self._group, principal)}"
        body = {
            "properties": {
                "roleDefinitionId": self._role,
                "principalId": principal,
                "principalType": "ServicePrincipal",  # else Azure looks for it, in vain at first
            }
        }
        try:
            await self._change("PUT", id, AUTHORIZATION_VERSION, body)
        except AzureError as error:
            if "roleassignmentexists" not in error.codes:
                raise

    async def _assignments(self) -> list[str]:
        """Return the IDs of the role's assignments, also those of identities that are gone."""
        try:
            found = await self._api.request_all(
                f"{self._group}/{_ASSIGNMENTS}",
                api_version=AUTHORIZATION_VERSION,
                query={"$filter": "atScope()"},
            )
        except AzureError as error:
            if error.is_not_found:
                return []
            raise
        role = self._role.rpartition("/")[2]
        return [
            item["id"]
            for item in found
            if item["properties"]["roleDefinitionId"].lower().endswith(f"/{role}")
        ]

    async def _change(
        self, method: str, id: str, version: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Change something as soon as Azure finds everywhere what it needs."""
        deadline = trio.current_time() + _SECONDS
        for delay in poll_intervals():
            try:
                return await self._api.request(method, id, api_version=version, body=body)
            except AzureError as error:
                if not error.codes & _NOT_YET or trio.current_time() > deadline:
                    raise
            await trio.sleep(delay)
        raise AssertionError  # polls have no end

    async def _take_back(self, *, has_role: bool, had_identity: bool) -> None:
        try:
            if not had_identity:
                await self._api.request("DELETE", self._identity, api_version=IDENTITIES_VERSION)
            if not has_role:
                await self._api.request("DELETE", self._role, api_version=AUTHORIZATION_VERSION)
        except AzureError as error:
            self._say(f"could not remove all that is new again: {error}")

    async def _check_unused(self) -> None:
        vms = await self._api.read_all("virtual_machines.list_all")
        wanted = normal_id(self._identity)
        users = [vm["name"] for vm in vms if wanted in map(normal_id, _identities(vm))]
        if users:
            raise StartError(
                f"the identity {IDENTITY!r} is not removed while VMs use it, which could not end "
                f"themselves any more: {', '.join(users[:5])}. End their sessions, or free them "
                f"with `bigmachine reap azure`"
            )

    async def _find(self, id: str, version: str) -> dict[str, Any] | None:
        try:
            return await self._api.request("GET", id, api_version=version)
        except AzureError as error:
            if error.is_not_found or "roledefinitiondoesnotexist" in error.codes:
                return None
            raise


def _identities(vm: Mapping[str, Any]) -> Iterable[str]:
    return (vm.get("identity") or {}).get("userAssignedIdentities") or ()


def _guid(group: str, what: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{group}/{what}".lower()))
