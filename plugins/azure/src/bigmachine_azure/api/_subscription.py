"""Which subscription is used: that of the option, of the environment, of az, or the only one."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from bigmachine.cloud import nearest_name
from bigmachine.errors import UsageError

from ..options._option_formats import is_subscription_id
from ._az_cli import az_subscription

_VERSION = "2022-12-01"
_MOST_LISTED = 5


async def find_subscription(given: str, get: Callable[[str, str], Awaitable[Any]]) -> str:
    """Return the ID of the subscription to use. ``get`` reads a path, in an API version.

    Raises `UsageError` if there is none, or none of that name, or if nobody says which of several.
    """
    wanted = (
        given or os.environ.get("AZURE_SUBSCRIPTION_ID") or str(az_subscription().get("id") or "")
    )
    if is_subscription_id(wanted):
        return wanted.lower()
    body = await get("/subscriptions", _VERSION)
    # Names may come twice: Azure calls each person's first one "Azure subscription 1".
    listed = body.get("value") or []
    found = sorted((str(of["displayName"]), str(of["subscriptionId"])) for of in listed)
    if wanted:
        named = [each for each in found if each[0].lower() == wanted.lower()]
        if not named:
            names = [name for name, _ in found]
            raise UsageError(
                f"subscription: the credentials have none named {wanted!r}; "
                f"{nearest_name(wanted, names, example='12345678-1234-1234-1234-123456789abc')} "
                f"List yours with `az account list --output table`"
            )
        if len(named) > 1:
            raise UsageError(
                f"subscription: several are named {wanted!r}: pass the ID of one ({_listed(named)})"
            )
        return named[0][1]
    if len(found) == 1:
        return found[0][1]
    if not found:
        raise UsageError(
            "subscription: the credentials may not use any: have a role on one granted, such as "
            "'Contributor', or use other credentials; `az account list --all` shows all of yours"
        )
    raise UsageError(
        f"subscription: set neither by the option nor by the environment or az, and there are "
        f"several: {_listed(found)}; pass one, or set AZURE_SUBSCRIPTION_ID, or run `az account "
        f"set --subscription NAME`"
    )


def _listed(found: Sequence[tuple[str, str]]) -> str:
    listed = [f"{name!r} ({id})" for name, id in found[:_MOST_LISTED]]
    return ", ".join([*listed, *(["…"] if len(found) > _MOST_LISTED else [])])
