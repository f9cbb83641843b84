"""What Google refuses on first use, in the words that users have shown in public issue trackers."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.gcp.errors import ERROR_INFO, GceError, OperationError
from tests.support.gcp.refusals import billing_disabled, no_quota_project_permission, rate_limit

PROJECT = "bigmachine-tests"
VM = f"projects/{PROJECT}/zones/us-central1-a/instances/bm-test-0123abcd-m0"


@dataclass(frozen=True)
class Refusal:
    """One answer, and where it was seen."""

    error: GceError | OperationError
    seen: str


def info(reason: str, **metadata: str) -> dict[str, object]:
    """Return the details that all of Google's services give of an error."""
    return {
        "@type": ERROR_INFO,
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "compute.googleapis.com", **metadata},
    }


def forbidden(message: str, *reasons: str, reason: str = "forbidden", **metadata: str) -> GceError:
    details = [info(each, **metadata) for each in reasons]
    return GceError(403, reason, message, details=details)


def invalid(message: str) -> GceError:
    return GceError(400, "invalid", message)


@dataclass
class SeveralErrors(GceError):
    """An answer with more errors than one, of which its message names the first."""

    others: tuple[str, ...] = field(default=())

    def body(self) -> dict[str, object]:
        body = super().body()
        body["error"]["errors"] += [
            {"message": text, "domain": "global", "reason": self.reason} for text in self.others
        ]
        return body


BILLING_OFF = Refusal(billing_disabled(PROJECT), "see there")
PROJECT_DELETED = Refusal(
    forbidden("Project #123456789012 has been deleted.", "CONSUMER_INVALID"),
    "googleapis/google-api-php-client issue 2422",
)
PROJECT_OF_OTHERS = Refusal(
    forbidden(
        f"Permission denied on resource project {PROJECT}.",
        "CONSUMER_INVALID",
        consumer=f"projects/{PROJECT}",
    ),
    "gemini-cli-extensions/nanobanana issue 16",
)
PROJECT_SUSPENDED = Refusal(
    forbidden(
        f"Permission denied: Consumer 'projects/{PROJECT}' has been suspended.",
        "CONSUMER_SUSPENDED",
    ),
    "firebase/firebase-ios-sdk issue 13968",
)
QUOTA_PROJECT = Refusal(no_quota_project_permission("other-project"), "see there")
PERIMETER = Refusal(
    forbidden(
        "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: eYhD",
        "SECURITY_POLICY_VIOLATED",
    ),
    "cloudquery/cloudquery issue 1062",
)
NO_SCOPE = Refusal(
    forbidden(
        "Insufficient Permission: Request had insufficient authentication scopes.",
        reason="insufficientPermissions",
    ),
    "cloudyr/googleComputeEngineR issue 155",
)
NO_PERMISSION = Refusal(
    forbidden(f"Required 'compute.instances.create' permission for '{VM}'"),
    "alexandarp/terraform-gke issue 2, of networks",
)
NO_PROJECTS_GET = Refusal(
    forbidden(f"Required 'compute.projects.get' permission for 'projects/{PROJECT}'"),
    "cloudyr/googleComputeEngineR issues 94 and 146",
)
BAD_SCOPES = Refusal(
    GceError(
        400,
        "invalid",
        "One or more of the service account scopes are invalid: 'useraccounts-ro'",
    ),
    "GoogleCloudPlatform/cloud-build-local pull request 49",
)
NO_ACT_AS = Refusal(
    OperationError(
        "SERVICE_ACCOUNT_ACCESS_DENIED",
        "The user does not have access to service account 'a@b.iam.gserviceaccount.com'. User: "
        "'somebody@example.com'. Ask a project owner to grant you the "
        "iam.serviceAccounts.actAs permission on the service account",
        status=400,
    ),
    "kubicorn/kubicorn issue 475, dask/dask-cloudprovider issue 279",
)
NO_EXTERNAL_ADDRESS = Refusal(
    GceError(
        412,
        "conditionNotMet",
        "Constraint constraints/compute.vmExternalIpAccess violated for project 123456789012. Add "
        f"instance {VM} to the constraint to use external IP with it.",
    ),
    "fortinet/fortigate-terraform-deploy issue 34",
)
NOT_SHIELDED = Refusal(
    OperationError(
        "CONDITION_NOT_MET",
        f"Constraint constraints/compute.requireShieldedVm violated for project projects/{PROJECT}."
        " Secure Boot is not enabled in the 'shielded_instance_config' field. See "
        "https://cloud.google.com/resource-manager/docs/organization-policy/"
        "org-policy-constraints for more information.",
        status=412,
    ),
    "hashicorp-education/learn-terraform-provision-gke-cluster issue 8",
)
SEVERAL_CONSTRAINTS = Refusal(
    SeveralErrors(
        412,
        "conditionNotMet",
        f"Constraint constraints/compute.requireShieldedVm violated for project projects/{PROJECT}."
        " The boot disk's 'initialize_params.source_image' field specifies a non-Shielded image.",
        others=(NO_EXTERNAL_ADDRESS.error.message,),
    ),
    "fortinet/fortigate-terraform-deploy issue 34",
)
LOCATION = Refusal(
    GceError(
        412,
        "conditionNotMet",
        "Location ZONE:us-central1-a violates constraint constraints/gcp.resourceLocations on the "
        f"resource {VM}.",
    ),
    "googlecodelabs/feedback issue 351",
)
CUSTOM_CONSTRAINT = Refusal(
    GceError(
        412,
        "conditionNotMet",
        'Operation denied by custom org policies: ["customConstraints/custom.smallOnly": "no"]',
    ),
    "'Create custom organization policy constraints' of the Resource Manager documentation",
)
RATE_LIMIT = Refusal(rate_limit(), "see there")
REGION_QUOTA = Refusal(
    forbidden(
        "Quota 'CPUS' exceeded.  Limit: 8.0 in region us-east1.",
        reason="quotaExceeded",
    ),
    "mesosphere-backup/terraform-dcos issue 61",
)
GPU_QUOTA = Refusal(
    forbidden("Quota 'GPUS_ALL_REGIONS' exceeded. Limit: 0.0 globally.", reason="quotaExceeded"),
    "fastai/course-v3 pull request 165",
)
ADDRESS_QUOTA = Refusal(
    forbidden(
        "Quota 'IN_USE_ADDRESSES' exceeded. Limit: 4.0 in region us-central1.",
        reason="quotaExceeded",
    ),
    "kelseyhightower/kubernetes-the-hard-way issue 47",
)
FAMILY_QUOTA = Refusal(
    OperationError(
        "QUOTA_EXCEEDED",
        "Quota 'CPUS_PER_VM_FAMILY' exceeded.  Limit: 24.0 in region us-central1.",
        status=403,
        details=[
            {
                "quotaInfo": {
                    "metricName": "compute.googleapis.com/cpus_per_vm_family",
                    "limitName": "CPUS-PER-VM-FAMILY-per-project-region",
                    "dimensions": {"region": "us-central1", "vm_family": "C4"},
                    "limit": 24.0,
                }
            }
        ],
    ),
    "the discovery document's QuotaExceededInfo",
)
STOCKOUT = Refusal(
    OperationError(
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
        "The zone 'projects/bigmachine-tests/zones/us-central1-a' does not have enough resources "
        "available to fulfill the request.  '(resource type:compute)'.",
    ),
    "CCExtractor/sample-platform issue 1165",
)
UNKNOWN_ZONE = Refusal(
    invalid("Invalid value for field 'zone': 'us-east1'. Unknown zone."),
    "inspec/inspec-gcp issue 301",
)
UNKNOWN_REGION = Refusal(
    invalid("Invalid value for field 'region': 'asia-northeast3'. Unknown region."),
    "googleapis/nodejs-compute issue 390",
)
NO_SUBNETWORK = Refusal(
    invalid(
        "Invalid value for field 'resource.networkInterfaces[0]': ''. Subnetwork should be "
        "specified for custom subnetmode network"
    ),
    "GoogleCloudDataproc/bdutil issue 108",
)
UNKNOWN_SUBNETWORK = Refusal(
    invalid(
        "Invalid value for field 'resource.networkInterfaces[0].subnetwork': "
        "'projects/p/regions/us-central1/subnetworks/mine'. The referenced subnetwork resource "
        "cannot be found."
    ),
    "hashicorp/terraform-provider-google issue 2140",
)
INCOMPATIBLE_DISK = Refusal(
    OperationError(
        "UNSUPPORTED_OPERATION",
        "[pd-balanced, c4-standard-16] features are not compatible for creating instance.",
        status=400,
    ),
    "astronomer/astronomer issue 2463",
)
NO_KEY = Refusal(
    OperationError(
        "KMS_KEY_ACCESS_DENIED",  # this word is not known, and nothing depends on it
        "Cloud KMS error when using key projects/p/locations/global/keyRings/r/cryptoKeys/k: "
        "Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied on resource "
        "'projects/p/locations/global/keyRings/r/cryptoKeys/k' (or it may not exist).",
        status=400,
    ),
    "kubernetes-sigs/gcp-compute-persistent-disk-csi-driver pull request 590",
)
BAD_LABEL = Refusal(
    invalid(
        "Invalid value for field 'resource.labels': ''. Label value 'Head' violates format "
        "constraints. The value can only contain lowercase letters, numeric characters, "
        "underscores and dashes. The value can be at most 63 characters long. International "
        "characters are allowed."
    ),
    "oap-project/cloudtik issue 14",
)
UNKNOWN_IMAGE = Refusal(
    GceError(
        404,
        "notFound",
        "The resource 'projects/debian-cloud/global/images/family/debian-99' was not found",
    ),
    "the answers of the API to any path that leads nowhere",
)
UNKNOWN_PROJECT = Refusal(
    GceError(404, "notFound", f"The resource 'projects/{PROJECT}' was not found"),
    "the answers of the API to any path that leads nowhere",
)
