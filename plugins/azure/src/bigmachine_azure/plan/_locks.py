"""Management locks: under one, a VM could be purchased, and not be deleted any more."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import AzureError
from ..api._place import Place

logger = logging.getLogger("bigmachine.azure")

_VERSION = "2016-09-01"
_KIND = "/providers/microsoft.authorization/locks/"


async def check_locks(api: Api, place: Place) -> None:
    """Raise `UsageError` for a lock on the resource group, or on the whole subscription.

    All that is in them inherits it ("Lock your resources to protect your infrastructure"):
    ``CanNotDelete`` forbids to delete VMs, which would cost money until somebody takes the lock
    away; ``ReadOnly`` also to create them. Who may not list locks is not stopped. Raises
    `AzureError`.
    """
    try:
        locks = await api.request_all(
            "providers/Microsoft.Authorization/locks", api_version=_VERSION
        )
    except AzureError as error:
        if not error.is_denied:
            raise
        logger.debug("whether there are locks is unknown: %s", error)
        return
    scopes = {f"/subscriptions/{api.subscription}".lower(), api.group_id().lower()}
    for lock in locks:
        if (scope := _scope_of(lock)).lower() in scopes:
            level = (lock.get("properties") or {}).get("level") or "a lock"
            raise UsageError(
                f"resource_group: {place.resource_group} has the lock {lock['name']!r} ({level}) "
                f"on {scope}, under which VMs can't be deleted, and cost money until it is gone: "
                f"have it removed (`az lock delete --ids {lock['id']}`), or name another "
                f"resource_group"
            )


def _scope_of(lock: Mapping[str, Any]) -> str:
    """Return the ID of what a lock is on, which its own ID begins with."""
    id = str(lock["id"])
    return id[: id.lower().rfind(_KIND)]
