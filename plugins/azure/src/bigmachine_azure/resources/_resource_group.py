"""The resource group that machines and their resources are in: created once, and kept.

It costs nothing, and to delete one takes ten minutes (ray issue 25971).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import poll_intervals
from bigmachine.errors import StartError

from ..api._errors import AzureError
from ..api._operations import provisioning_state
from ..api._place import GROUPS_VERSION

if TYPE_CHECKING:
    from ..api._api import Api

logger = logging.getLogger("bigmachine.azure")

_FOUND_SECONDS = 60.0  # after its creation, it may not be found (terraform-provider-azurerm 18268)


async def open_resource_group(api: Api, *, location: str, tags: Mapping[str, str]) -> None:
    """Create the session's resource group, unless it exists; it gets ``tags``, the user's.

    It is looked for first: many may only use one that somebody has made for them (skypilot issue
    4520). Raises `StartError` for one that is being deleted, and `AzureError`.
    """
    try:
        found = await _find(api)
    except AzureError as error:
        if not error.is_denied:
            raise
        logger.debug("whether the resource group exists is unknown: %s", error)
        return  # what is created in it will tell
    if found is not None:
        _check_usable(api, found)
        api.note_new_group()  # another driver may have created it a moment ago
        return
    logger.info("creating the resource group %s in %s", api.resource_group, location)
    body = {"location": location, "tags": dict(tags)}
    try:
        await api.request("PUT", api.group_id(), api_version=GROUPS_VERSION, body=body)
    except AzureError as error:
        if "resourcegroupbeingdeleted" in error.codes:
            raise _is_being_deleted(api) from error
        raise
    api.note_new_group()
    with trio.move_on_after(_FOUND_SECONDS):
        for delay in poll_intervals():
            if await _find(api) is not None:
                break
            await trio.sleep(delay)


async def _find(api: Api) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = await api.request(
            "GET", api.group_id(), api_version=GROUPS_VERSION
        )
    except AzureError as error:
        if error.is_not_found:
            return None
        raise
    return found


def _check_usable(api: Api, found: Mapping[str, Any]) -> None:
    if provisioning_state(found).lower() == "deleting":
        raise _is_being_deleted(api)


def _is_being_deleted(api: Api) -> StartError:
    return StartError(
        f"resource_group: {api.resource_group} is being deleted, which takes ten minutes or more: "
        f"wait until `az group exists --name {api.resource_group}` prints false, or name another "
        f"group"
    )
