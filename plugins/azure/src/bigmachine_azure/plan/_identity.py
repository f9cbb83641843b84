"""The managed identity with which machines delete their own VMs."""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING, Any

from bigmachine.cloud import for_each
from bigmachine.errors import StartError, UsageError

from ..api._errors import AzureError
from ._roles import AUTHORIZATION_VERSION, grants

if TYPE_CHECKING:
    from ..api._api import Api
    from ..api._place import Place
    from ..options._options import AzureOptions

logger = logging.getLogger("bigmachine.azure")

IDENTITY = "bigmachine"
"""The name of the identity that `bigmachine azure setup` creates."""
IDENTITIES_VERSION = "2023-01-31"
TYPE = "Microsoft.ManagedIdentity/userAssignedIdentities"
DELETE_VM = "Microsoft.Compute/virtualMachines/delete"
"""The action that a machine needs."""


def setup_command(o: AzureOptions, place: Place) -> str:
    """Return the command that creates an identity where sessions with these options look for it."""
    given = {"subscription": o.subscription, "location": place.location}
    given["resource_group"] = o.resource_group
    words = [f"-o {name}={shlex.quote(value)}" for name, value in given.items() if value]
    return " ".join(["bigmachine azure setup", *words])


async def find_identity(api: Api, o: AzureOptions, place: Place) -> str:
    """Return the ID of the identity that machines have; "" if there is none.

    Raises `UsageError` if the one that the options name does not exist; `StartError` if it may not
    delete VMs of the session's resource group, as far as the caller may know; and `AzureError`.
    """
    name = o.identity or IDENTITY
    id = name if name.startswith("/") else f"{api.group_id()}/providers/{TYPE}/{name}"
    try:
        raw = await api.request("GET", id, api_version=IDENTITIES_VERSION)
    except AzureError as error:
        if not (error.is_not_found or error.is_unregistered):
            raise
        if o.identity:
            raise UsageError(
                f"identity: there is no {id!r}: correct it, or omit it and run "
                f"`{setup_command(o, place)}` once; list all with `az identity list --output "
                f"table`"
            ) from error
        return ""
    if not await _may_delete(api, raw["properties"]["principalId"], place):
        raise StartError(
            f"identity: {raw['name']!r} may not delete VMs of the resource group "
            f"{place.resource_group}, so that a machine could not end itself: run "
            f"`{setup_command(o, place)}` again, or assign it a role with {DELETE_VM} there. A new "
            f"grant takes up to ten minutes"
        )
    return str(raw["id"])


async def _may_delete(api: Api, principal: str, place: Place) -> bool:
    """Whether a principal may delete VMs in the session's group; True if that can't be known."""
    group = api.group_id()
    scope = group if place.has_group else f"/subscriptions/{api.subscription}"
    try:
        assignments = await api.request_all(
            f"{scope}/providers/Microsoft.Authorization/roleAssignments",
            api_version=AUTHORIZATION_VERSION,
            query={"$filter": f"assignedTo('{principal}')"},
        )
        roles = {
            item["properties"]["roleDefinitionId"]
            for item in assignments
            if _includes(item["properties"]["scope"], group)
        }
        permissions = list[dict[str, Any]]()

        async def read(role: str) -> None:
            raw = await api.request("GET", role, api_version=AUTHORIZATION_VERSION)
            permissions.extend(raw["properties"]["permissions"])

        await for_each(sorted(roles), read)
    except AzureError as error:
        if not error.is_denied:
            raise
        logger.debug("what the machines' identity may do is unknown: %s", error)
        return True
    return grants(permissions, DELETE_VM)


def _includes(scope: str, id: str) -> bool:
    """Whether a resource is in a scope, or is it itself; a scope may be "/"."""
    return f"{id}/".lower().startswith(f"{scope.rstrip('/')}/".lower())
