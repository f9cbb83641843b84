"""Who may do what: disabled APIs, billing that is off, and missing permissions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call, implements
from tests.support.gcp.errors import ERROR_INFO, GceError
from tests.support.gcp.oauth import USER
from tests.support.gcp.permissions import ACT_AS, permissions_of

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

HELP = "type.googleapis.com/google.rpc.Help"
SERVICE = "compute.googleapis.com"
OTHER_SERVICES = {
    "cloudbilling.googleapis.com": "Cloud Billing API",
    "cloudresourcemanager.googleapis.com": "Cloud Resource Manager API",
    "iam.googleapis.com": "Identity and Access Management (IAM) API",
}


@dataclass
class Access:
    """What the account that asks is allowed, and its project."""

    gce: Gce
    disabled_apis: set[str] = field(default_factory=set)
    """As ``compute.googleapis.com``."""
    has_billing: bool = True
    other_projects: set[str] = field(
        default_factory=lambda: {
            "ubuntu-os-cloud",
            "debian-cloud",
            "cos-cloud",
            "rocky-linux-cloud",
        }
    )
    """Projects that there are besides our own."""

    denied: set[str] = field(default_factory=set)
    """Permissions that the caller lacks, as ``compute.instances.create``."""

    def check(self, call: Call) -> None:
        """Refuse a call that Google would refuse whatever it asks for."""
        for service, title in OTHER_SERVICES.items():
            if call.method.startswith(f"{service.partition('.')[0]}."):
                if call.user == USER and not call.quota_project:
                    raise _of_gclouds_project(service)
                if service in self.disabled_apis:
                    raise self._disabled(service, title)
                return
        project = call.parameters.get("project", self.gce.project)
        if project in self.other_projects:
            return
        if project != self.gce.project:
            raise GceError(404, "notFound", f"The resource 'projects/{project}' was not found")
        if SERVICE in self.disabled_apis:
            raise self._disabled(SERVICE, "Compute Engine API")
        if not self.has_billing:
            raise self._no_billing()
        for permission, path in permissions_of(call):
            # Whether it may act as an account Google finds out later: see `Policies`.
            if permission in self.denied - {ACT_AS}:
                # hashicorp/terraform-provider-google#14954
                text = f"Required '{permission}' permission for '{path}'"
                raise GceError(403, "forbidden", text)

    @implements(
        "cloudresourcemanager.projects.testIamPermissions",
        "iam.projects.serviceAccounts.testIamPermissions",
    )
    def test_permissions(self, call: Call) -> Any:
        """Answer which of the permissions that it asks about the caller has."""
        granted = [one for one in call.body["permissions"] if one not in self.denied]
        if call.method.startswith("iam."):
            email = call.resource.rpartition("/")[2]
            if not self.gce.policies.knows(email):
                # MarkEdmondson1234/googleCloudRunner#146
                raise GceError(404, "notFound", "Unknown service account")
            if not self.gce.policies.allows(email):
                granted = []
        return {"permissions": granted} if granted else {}

    def _disabled(self, service: str, title: str) -> GceError:
        number = self.gce.project_number
        url = f"https://console.developers.google.com/apis/api/{service}/overview?project={number}"
        text = (
            f"{title} has not been used in project {number} before or it is disabled. Enable it by "
            f"visiting {url} then retry. If you enabled this API recently, wait a few minutes for "
            "the action to propagate to our systems and retry."
        )
        link = {"description": "Google developers console API activation", "url": url}
        metadata = {
            "activationUrl": url,
            "consumer": f"projects/{number}",
            "containerInfo": number,
            "service": service,
            "serviceTitle": title,
        }
        return GceError(
            403,
            "accessNotConfigured",
            text,
            "usageLimits",
            [
                {"@type": HELP, "links": [link]},
                {
                    "@type": ERROR_INFO,
                    "reason": "SERVICE_DISABLED",
                    "domain": "googleapis.com",
                    "metadata": metadata,
                },
            ],
        )

    def _no_billing(self) -> GceError:
        number = self.gce.project_number
        url = f"https://console.developers.google.com/billing/enable?project={number}"
        text = (
            f"This API method requires billing to be enabled. Please enable billing on project "
            f"#{number} by visiting {url} then retry. If you enabled billing for this project "
            "recently, wait a few minutes for the action to propagate to our systems and retry."
        )
        metadata = {"consumer": f"projects/{number}", "service": SERVICE}
        return GceError(
            403,
            "forbidden",
            text,
            details=[
                {
                    "@type": HELP,
                    "links": [{"description": "Google developers console billing", "url": url}],
                },
                {
                    "@type": ERROR_INFO,
                    "reason": "BILLING_DISABLED",
                    "domain": "googleapis.com",
                    "metadata": metadata,
                },
            ],
        )


def _of_gclouds_project(service: str) -> GceError:
    """Return the answer to a user whose requests no project of the user's pays for.

    golang/oauth2 issue 702: it is the project of gcloud, where only a few APIs are enabled.
    """
    text = (
        "Your application is authenticating by using local Application Default Credentials. The "
        f"{service} API requires a quota project, which is not set by default. To learn how to "
        "set your quota project, see "
        "https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds ."
    )
    metadata = {"consumer": "projects/764086051850", "service": service}
    info = {"@type": ERROR_INFO, "reason": "SERVICE_DISABLED", "metadata": metadata}
    return GceError(403, "forbidden", text, details=[{**info, "domain": "googleapis.com"}])
