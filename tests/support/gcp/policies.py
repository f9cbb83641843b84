"""Policies of an organization, and the right to use a service account: what refuses an instance.

The words are of answers that users have shown; each source is beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call, implements
from tests.support.gcp.errors import GceError, OperationError

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

SEE = (
    "See https://cloud.google.com/resource-manager/docs/organization-policy/org-policy-constraints "
    "for more information."
)
FULL_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@dataclass
class Policies:
    """What the project's organization forbids; by default nothing."""

    gce: Gce
    at_once: bool = True
    """Whether ``instances.insert`` is refused (412); else its operation fails. Both happen; a bulk
    insert's operations always do."""
    may_be_read: bool = False
    """Whether the caller has the permission ``orgpolicy.policy.get``, which our role lacks."""
    forbids_external_addresses: bool = False
    requires_shielded_vms: bool = False
    trusted_image_projects: set[str] | None = None
    """All projects, if None."""
    allowed_zones: set[str] | None = None
    """All zones, if None."""
    accounts: set[str] = field(default_factory=set)
    """Service accounts that there are, besides the default one and that of the tests."""
    may_act_as: set[str] | None = None
    """Service accounts that the caller may give to instances; all, if None."""

    @implements("cloudresourcemanager.projects.getEffectiveOrgPolicy")
    def get_effective(self, call: Call) -> Any:
        if not self.may_be_read:
            raise GceError(403, "forbidden", "The caller does not have permission")
        name = call.body["constraint"].removeprefix("constraints/")
        kind, policy = {
            "compute.vmExternalIpAccess": (
                "listPolicy",
                {"allValues": "DENY" if self.forbids_external_addresses else "ALLOW"},
            ),
            "compute.requireShieldedVm": (
                "booleanPolicy",
                {"enforced": True} if self.requires_shielded_vms else {},
            ),
        }[name]
        return {"constraint": call.body["constraint"], kind: policy}

    def knows(self, email: str) -> bool:
        """Whether there is such a service account."""
        return email in {self.gce.default_account, "default", *self.accounts}

    def allows(self, email: str) -> bool:
        """Whether the caller may give that service account to instances."""
        return self.may_act_as is None or email in self.may_act_as

    def error_of(self, instance: Mapping[str, Any], zone: str) -> OperationError | None:
        """Return why an instance may not be, if so."""
        text = self.violation(instance, zone)
        if text:
            return OperationError("CONDITION_NOT_MET", text, 412)
        return self._account_error(instance)

    def violation(self, instance: Mapping[str, Any], zone: str) -> str:
        """Return which constraint of the organization an instance violates; "" if none."""
        project = self.gce.project
        path = f"projects/{project}/zones/{zone}/instances/{instance['name']}"
        nics = instance["networkInterfaces"]
        if self.forbids_external_addresses and any(nic.get("accessConfigs") for nic in nics):
            # GoogleCloudPlatform/compute-image-tools#1476, gardener-extension-provider-gcp#415
            return (
                "Constraint constraints/compute.vmExternalIpAccess violated for project "
                f"{self.gce.project_number}. Add instance {path} to the constraint to use external "
                "IP with it."
            )
        shielded = instance.get("shieldedInstanceConfig", {})
        if self.requires_shielded_vms and not shielded.get("enableSecureBoot"):
            # GoogleCloudPlatform/compute-image-tools#1834
            return (
                "Constraint constraints/compute.requireShieldedVm violated for project "
                f"projects/{project}. Secure Boot is not enabled in the "
                f"'shielded_instance_config' field. {SEE}"
            )
        if self.trusted_image_projects is not None:
            for disk in instance["disks"]:
                link = disk.get("initializeParams", {}).get("sourceImage", "")
                image = self.gce.images.find(link) if link else None
                if image and image.project not in self.trusted_image_projects:
                    # "Use of images from project X is prohibited" (Google's "Trusted image
                    # policies", Troubleshooting).
                    return (
                        "Constraint constraints/compute.trustedImageProjects violated for project "
                        f"{project}. Use of images from project {image.project} is prohibited."
                    )
        if self.allowed_zones is not None and zone not in self.allowed_zones:
            # googlecodelabs/feedback#351, GoogleCloudPlatform/oss-test-infra#2703
            return (
                f"Location ZONE:{zone} violates constraint constraints/gcp.resourceLocations on "
                f"the resource {path}."
            )
        return ""

    def _account_error(self, instance: Mapping[str, Any]) -> OperationError | None:
        for account in instance.get("serviceAccounts", ()):
            email = account["email"]
            if not self.knows(email):
                text = f"The resource '{email}' of type 'serviceAccount' was not found."
                return OperationError("RESOURCE_NOT_FOUND", text, 404)
            if not self.allows(email):
                # googleapis/google-cloud-java#10061
                text = (
                    f"The user does not have access to service account '{email}'.  User: "
                    f"'{self.gce.oauth.account}'.  Ask a project owner to grant you the "
                    "iam.serviceAccountUser role on the service account"
                )
                return OperationError("SERVICE_ACCOUNT_ACCESS_DENIED", text, 400)
        return None
