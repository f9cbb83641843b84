"""What to do about what an organization's policies forbid."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import for_each
from bigmachine.errors import BigmachineError, StartError, UsageError

from ._errors import GcpError

if TYPE_CHECKING:
    from ._api import Api
    from ._options import GcpOptions

logger = logging.getLogger("bigmachine.gcp")

_ASK_SECONDS = 10.0  # the launch tells it, too

# By constraint: the option, and what to do. Texts of Google: "Constraint constraints/
# compute.vmExternalIpAccess violated for project …" and the like, several in one answer
# (fortinet/fortigate-terraform-deploy issue 34), as a request's reason conditionNotMet or as an
# operation's CONDITION_NOT_MET.
_CONSTRAINTS = {
    "compute.vmExternalIpAccess": (
        "public_address",
        "it forbids external addresses: pass public_address=False, and run the driver where it "
        "reaches internal ones",
    ),
    "compute.requireShieldedVm": (
        "secure_boot",
        "it requires Shielded VMs: pass secure_boot=True, and an image that supports it, as the "
        "default one does",
    ),
    "compute.trustedImageProjects": (
        "image",
        "it does not allow the image's project: pass an image of a project that it allows",
    ),
    "compute.storageResourceUseRestrictions": (
        "image",
        "it does not allow the image's project: pass an image of a project that it allows",
    ),
    "gcp.resourceLocations": (
        "region",
        "it does not allow this region: pass one that it allows",
    ),
    "compute.restrictSharedVpcSubnetworks": (
        "subnetwork",
        "it does not allow this subnetwork: pass one that it allows",
    ),
    "compute.restrictSharedVpcHostProjects": (
        "network",
        "it does not allow this network's project: pass a network that it allows",
    ),
    "compute.disableSerialPortLogging": (
        "verify_boot",
        "it forbids the serial console, which this option needs: omit it",
    ),
}
_PERIMETER = ("SECURITY_POLICY_VIOLATED", "vpcServiceControls")
_ADMIN = frozenset({"USER_BLOCKED_BY_ADMIN", "ORG_RESTRICTION_VIOLATION"})
_SERVICES = frozenset({"RESOURCE_USAGE_RESTRICTION_VIOLATED"})


def policy_error(error: GcpError, where: str) -> BigmachineError | None:
    """Return the error for the user if an organization's policy forbids what was requested.

    ``where`` is Google's answer, for its end.
    """
    if error.constraint:
        return _constraint_error(error.constraint, where)
    if _PERIMETER[0] in error.reasons or _PERIMETER[1] in error.message:
        return StartError(
            f"VPC Service Controls of the organization forbid this from here: run the driver "
            f"inside the perimeter, or ask the organization's administrator for an access level "
            f"{where}"
        )
    if error.reasons & _ADMIN:
        return StartError(
            f"an administrator of the organization does not allow this account to use Google "
            f"Cloud from here: ask there {where}"
        )
    if error.reasons & _SERVICES:
        return StartError(
            f"a policy of the organization forbids Compute Engine in the project "
            f"{error.project!r}: use another project, or ask the administrator {where}"
        )
    return None


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
            raise _constraint_error(constraint, "(asked of Google now)")

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


def _constraint_error(constraint: str, where: str) -> BigmachineError:
    policy = f"the organization's policy {constraint}"
    option, advice = _CONSTRAINTS.get(constraint, ("", ""))
    if not option:
        return StartError(
            f"{policy} forbids this: ask the organization's administrator for an exception {where}"
        )
    return UsageError(
        f"{option}: {policy}: {advice}; or ask the organization's administrator for an exception "
        f"{where}"
    )
