"""Asking for an organization's policies before anything is created."""

from __future__ import annotations

import logging
from typing import Any

import trio

from bigmachine.cloud import for_each

from ..api._api import Api
from ..api._errors import GcpError
from ..api._policy_advice import constraint_error
from ..options._options import GcpOptions

logger = logging.getLogger("bigmachine.gcp")

_ASK_SECONDS = 10.0  # the launch tells it, too


async def check_policies(api: Api, o: GcpOptions) -> None:
    """Raise `UsageError` if an organization's policies surely forbid what the options ask for.

    Where the credentials may not read them (``orgpolicy.policy.get``), this does nothing.
    """

    async def check(constraint: str) -> None:
        policy: Any = {}
        with trio.move_on_after(_ASK_SECONDS):
            try:
                policy = await api.read_json(
                    "cloudresourcemanager",
                    f"v1/projects/{api.project}:getEffectiveOrgPolicy",
                    body={"constraint": f"constraints/{constraint}"},
                )
            except GcpError as error:
                logger.debug("the organization's policy %s is unknown: %s", constraint, error)
        if _forbids(policy):
            raise constraint_error(constraint, "(asked of Google now)")

    asked = {"compute.vmExternalIpAccess": o.public_address}
    asked["compute.requireShieldedVm"] = not o.secure_boot
    await for_each([constraint for constraint, is_asked in asked.items() if is_asked], check)


def _forbids(policy: Any) -> bool:
    """Whether an effective policy, as Google answers it, forbids new instances what it is about.

    A list of single instances that are allowed does not have those of a session. Values may also
    be hierarchies, ``under:…``: whether these have the project is unknown here.
    """
    if policy.get("booleanPolicy", {}).get("enforced"):
        return True
    listed = policy.get("listPolicy", {})
    allowed = listed.get("allowedValues", ())
    are_instances = bool(allowed) and all("/instances/" in value for value in allowed)
    return listed.get("allValues") == "DENY" or are_instances
