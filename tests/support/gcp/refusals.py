"""What Google answers when it fails, or is asked too much: for `Gce.refuse`, with sources."""

from __future__ import annotations

from tests.support.gcp.errors import ERROR_INFO, GceError

SERVICE = "compute.googleapis.com"


def rate_limit(number: str = "123456789012") -> GceError:
    """Return 403 ``rateLimitExceeded``: a quota that is refilled each minute.

    The words are of scylladb/scylla-cluster-tests#7940, the details of
    GoogleCloudPlatform/marketing-analytics-jumpstart#163 (of another API).
    """
    return GceError(
        403,
        "rateLimitExceeded",
        "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute per "
        f"region' of service '{SERVICE}' for consumer 'project_number:{number}'.",
        "usageLimits",
        [
            {
                "@type": ERROR_INFO,
                "reason": "RATE_LIMIT_EXCEEDED",
                "domain": "googleapis.com",
                "metadata": {
                    "consumer": f"projects/{number}",
                    "quota_limit": "ReadRequestsPerMinutePerProjectPerRegion",
                    "quota_limit_value": "1500",
                    "quota_location": "us-central1",
                    "quota_metric": f"{SERVICE}/read_requests_per_region",
                    "service": SERVICE,
                },
            }
        ],
    )


def unavailable() -> GceError:
    """Return 503 of a request that was not carried out."""
    return GceError(503, "backendError", "The service is currently unavailable.")


def internal_error() -> GceError:
    """Return 500: nobody knows whether the request was carried out."""
    return GceError(500, "internalError", "Internal error. Please try again or contact support.")


def not_ready(path: str) -> GceError:
    """Return 400 of a resource that is being changed (google-api-python-client#485)."""
    return GceError(400, "resourceNotReady", f"The resource '{path}' is not ready")


def billing_disabled(project: str, number: str = "123456789012") -> GceError:
    """Return 403 as GoogleCloudPlatform/java-docs-samples#276 has it: its reason says nothing."""
    text = f"Project {project} (#{number}) has billing disabled. Please enable it."
    return GceError(403, "forbidden", text)


def no_quota_project_permission(project: str) -> GceError:
    """Return 403 of a user whose quota project is not theirs to use (AIP-4110; auth#250)."""
    text = (
        f"Caller does not have required permission to use project {project}. Grant the caller the "
        "roles/serviceusage.serviceUsageConsumer role, or a custom role with the "
        "serviceusage.services.use permission."
    )
    metadata = {
        "consumer": f"projects/{project}",
        "permission": "serviceusage.services.use",
        "service": SERVICE,
    }
    return GceError(
        403,
        "forbidden",
        text,
        details=[
            {
                "@type": ERROR_INFO,
                "reason": "USER_PROJECT_DENIED",
                "domain": "googleapis.com",
                "metadata": metadata,
            }
        ],
    )
