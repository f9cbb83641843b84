"""Errors of Google, classified by what can be done about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bigmachine.cloud import RestError

# An error has codes in several places: a request's answer has `error.errors[].reason`, in
# camelCase, and `error.details[]` with an ErrorInfo, whose reason is in capitals (AIP-193; those
# that all of Google's services have are google.api.ErrorReason); an operation has
# `error.errors[].code`, in capitals, and perhaps an ErrorInfo, too.

_THROTTLED = frozenset(
    {
        "rateLimitExceeded",  # "Compute Engine rate quotas": 403
        "userRateLimitExceeded",
        "RATE_LIMIT_EXCEEDED",  # the same, of google.api.ErrorReason
        "tooManyRequests",
        "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED",  # of operations; known to gcloud
        "RESOURCE_OPERATION_RATE_EXCEEDED",  # skypilot, provision/gcp/instance_utils.py
    }
)
_LATER = frozenset(
    {
        "resourceNotReady",  # "The resource '…' is not ready" (google-api-python-client issue 485)
        "RESOURCE_NOT_READY",
        "UNREACHABLE",  # ours, of a list without some zone
    }
)
_CAPACITY = frozenset(
    {
        # Of kubernetes/autoscaler (gce/autoscaling_gce_client.go) and karpenter-provider-gcp.
        "ZONE_RESOURCE_POOL_EXHAUSTED",
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
        "RESOURCE_POOL_EXHAUSTED",
        "REGION_RESOURCE_POOL_EXHAUSTED",
        "REGION_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
        "STOCKOUT",
        "insufficientCapacity",  # "Troubleshooting bulk creation": 503
        "IP_SPACE_EXHAUSTED",
        "IP_SPACE_EXHAUSTED_WITH_DETAILS",
        "VM_MIN_COUNT_NOT_REACHED",  # of a bulk operation; the causes are its children's
    }
)
_QUOTA = frozenset({"quotaExceeded", "QUOTA_EXCEEDED", "limitExceeded", "LIMIT_EXCEEDED"})
_NOT_FOUND = frozenset({"notFound", "RESOURCE_NOT_FOUND", "NOT_FOUND"})
_CREDENTIALS = frozenset(
    {
        "DefaultCredentialsError",  # of google-auth
        "GoogleAuthError",
        "MutualTLSChannelError",
        "OAuthError",
        "ReauthFailError",
        "RefreshError",
        "authError",  # of Google: 401
        "required",  # 401, without any credentials
        "ACCESS_TOKEN_EXPIRED",
        "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "ACCOUNT_STATE_INVALID",
        "CREDENTIALS_MISSING",
    }
)
_SCOPES = frozenset({"ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions"})
_PERMISSION = frozenset(
    {
        "forbidden",
        "IAM_PERMISSION_DENIED",
        "PERMISSIONS_ERROR",  # of operations
        "SERVICE_ACCOUNT_ACCESS_DENIED",  # of operations: no actAs
    }
)

_MESSAGE_PERMISSION = re.compile(r"[Rr]equired '?([a-z]+\.\w+\.\w+)'? permission")
_PERMISSION_ON = re.compile(r"[Pp]ermission '?([a-z]+\.\w+\.\w+)'? denied")
_BILLING = re.compile(r"billing (account .*)?((is|not|to be|must be) )*(dis|en)abled", re.I)
_UNKNOWN_PROJECT = re.compile(
    r"resource '?projects/[^/' ]+'? (was )?not found|Unknown project id|"
    r"Failed to find project|[Pp]roject \S+ (has been deleted|not found|is scheduled for deletion)"
)
_CONSTRAINT = re.compile(r"[cC]onstraints/([\w.]+\w)")


@dataclass(frozen=True, slots=True)
class QuotaInfo:
    """The quota that an error is about. What Google did not say is empty; a limit is None."""

    metric: str = ""  # "compute.googleapis.com/cpus_per_vm_family"
    name: str = ""  # "CPUS-PER-VM-FAMILY-per-project-region"
    limit: float | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)  # {"region": …, "vm_family": …}


class GcpError(RestError):
    """A request to Google, or an operation that it began, failed.

    ``action`` is the method of the discovery document: ``"compute.instances.insert"``. ``code``
    and ``message`` are Google's, or the class and text of an error of google-auth or requests.
    ``status`` is the HTTP status, 0 for none. ``reasons`` are all of Google's codes for this
    error, also those of its details; ``metadata`` is that of the details (`service`,
    `activationUrl`, `permission`, …).
    """

    def __init__(
        self,
        action: str,
        code: str,
        message: str,
        *,
        status: int = 0,
        reasons: frozenset[str] = frozenset(),
        metadata: Mapping[str, str] | None = None,
        quota: QuotaInfo | None = None,
        is_response: bool = True,
        is_operation: bool = False,
        clock_skew: float = 0.0,
    ) -> None:
        super().__init__(
            action,
            code,
            message,
            status=status,
            is_response=is_response,
            is_operation=is_operation,
            clock_skew=clock_skew,
        )
        self.reasons = reasons | {code}
        self.metadata = dict(metadata or {})
        self.quota = quota
        self.project = ""
        """The project that was asked for."""
        self.account = ""
        """The service account whose credentials were used; "" for a user's."""
        self.operation: Any = None
        """The operation that failed, an `Operation` of the SDK; else None."""
        self.errors: tuple[GcpError, ...] = (self,)
        """All errors of the operation; this is the first."""

    @property
    def is_throttled(self) -> bool:
        """Whether Google did nothing, because there were too many requests."""
        return self.status == 429 or bool(self.reasons & _THROTTLED)

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed a little later."""
        return super().is_temporary or bool(self.reasons & _LATER)

    @property
    def is_capacity(self) -> bool:
        """Whether this zone has no such instance, and another zone may have one."""
        return bool(self.reasons & _CAPACITY) or self.is_preemption

    @property
    def is_preemption(self) -> bool:
        """Whether a spot instance was preempted while it started; it may be left, stopped.

        Such an operation has different codes, and always this message (PerfKitBenchmarker,
        gce_virtual_machine.py; scylladb/scylla-cluster-tests pull requests 2945 and 16106).
        """
        return "PREEMPTED" in self.reasons or "failed to start due to preemption" in self.message

    @property
    def is_quota(self) -> bool:
        """Whether the project may have no more of these resources."""
        return not self.is_throttled and bool(self.reasons & _QUOTA)

    @property
    def is_not_found(self) -> bool:
        """Whether a named resource does not exist, or not yet."""
        return bool(self.reasons & _NOT_FOUND) or self.status == 404

    @property
    def is_conflict(self) -> bool:
        """Whether a resource of this name exists already."""
        return bool(self.reasons & {"alreadyExists", "RESOURCE_ALREADY_EXISTS"})

    @property
    def is_unreachable(self) -> bool:
        """Whether Google could not be reached: the request was not sent."""
        return super().is_unreachable or self.code == "TransportError"

    @property
    def is_disabled(self) -> bool:
        """Whether the project does not use this API yet."""
        return bool(self.reasons & {"accessNotConfigured", "SERVICE_DISABLED"})

    @property
    def is_billing_disabled(self) -> bool:
        """Whether no billing account pays for the project.

        The reason may be just "forbidden": "Project … (#…) has billing disabled. Please enable
        it." (GoogleCloudPlatform/java-docs-samples issue 276), "This API method requires billing
        to be enabled." (OpenRouterLabs/spawn issue 3091)
        """
        is_reason = bool(self.reasons & {"BILLING_DISABLED", "billingNotEnabled"})
        return is_reason or (self.status in (400, 403) and bool(_BILLING.search(self.message)))

    @property
    def constraint(self) -> str:
        """The organization policy's constraint that is violated: "compute.vmExternalIpAccess"."""
        match = _CONSTRAINT.search(self.message)
        return match[1] if match else ""

    @property
    def is_suspended(self) -> bool:
        """Whether Google has suspended the project, or its account."""
        return bool(self.reasons & {"CONSUMER_SUSPENDED", "GCP_SUSPENDED"})

    @property
    def is_project_unknown(self) -> bool:
        """Whether there is no such project, or the caller may not see it.

        "The resource 'projects/…' was not found"; "Permission denied on resource project …" and
        "Project #… has been deleted." with the reason CONSUMER_INVALID (googleapis/
        google-api-php-client issue 2422); "Unknown project id: …".
        """
        if self.reasons & {"CONSUMER_INVALID", "RESOURCE_PROJECT_INVALID"}:
            return True
        return self.status in (400, 403, 404) and bool(_UNKNOWN_PROJECT.search(self.message))

    @property
    def is_scope_missing(self) -> bool:
        """Whether the credentials' access scopes do not include Compute Engine."""
        return bool(self.reasons & _SCOPES) or "insufficient authentication scope" in self.message

    @property
    def is_denied(self) -> bool:
        """Whether the credentials lack a permission."""
        if self.is_disabled or self.is_billing_disabled or self.is_throttled or self.is_quota:
            return False
        if self.is_suspended or self.is_project_unknown or self.constraint:
            return False
        return bool(self.reasons & _PERMISSION)

    @property
    def denied_permission(self) -> str:
        """The permission that is missing, as ``compute.instances.create``; "" if not said."""
        named = _MESSAGE_PERMISSION.search(self.message) or _PERMISSION_ON.search(self.message)
        return self.metadata.get("permission", "") or (named[1] if named else "")

    @property
    def is_unauthenticated(self) -> bool:
        """Whether there are no credentials, or Google rejects them."""
        return self.status == 401 or bool(self.reasons & _CREDENTIALS)

    @property
    def is_forbidden(self) -> bool:
        """Whether Google rejects the caller or the project, not the request's parameters."""
        is_project = self.is_disabled or self.is_billing_disabled or self.is_suspended
        is_project = is_project or self.is_project_unknown
        return self.is_denied or self.is_unauthenticated or self.is_scope_missing or is_project


def preemption_error(message: str) -> GcpError:
    """Return the error of a spot instance that was preempted before its machine could start."""
    return GcpError("compute.instances.insert", "PREEMPTED", message)
