"""What to do about what an organization's policies forbid."""

from __future__ import annotations

from bigmachine.errors import BigmachineError, StartError, UsageError

from ._errors import GcpError

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
        return constraint_error(error.constraint, where)
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


def constraint_error(constraint: str, where: str) -> BigmachineError:
    """Return the error for the user of a constraint, like ``compute.vmExternalIpAccess``."""
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
