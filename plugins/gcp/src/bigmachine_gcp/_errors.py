"""Errors of Google, classified by what can be done about them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigmachine.cloud import CloudError

# An error has codes in several places: a request's answer has `error.errors[].reason`, in
# camelCase, and `error.details[]` with an ErrorInfo, whose reason is in capitals ("AIP-193"); an
# operation has `error.errors[].code`, in capitals, and perhaps an ErrorInfo, too.

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
_NOT_READY = frozenset(
    {
        "resourceNotReady",  # "The resource '…' is not ready" (google-api-python-client issue 485)
        "RESOURCE_NOT_READY",
    }
)
_UNKNOWN_STATUS = frozenset({408, 500, 502, 503, 504})
_UNKNOWN_OUTCOME = frozenset({"ConnectionLost", "InvalidResponse", "ReadTimeout"})
_UNREACHABLE = frozenset({"ConnectionError", "ProxyError", "SSLError", "TransportError"})
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
_CONSTRAINT = re.compile(r"constraints/([\w.]+\w)")


@dataclass(frozen=True, slots=True)
class QuotaInfo:
    """The quota that an error is about. What Google did not say is empty; a limit is None."""

    metric: str = ""  # "compute.googleapis.com/cpus_per_vm_family"
    name: str = ""  # "CPUS-PER-VM-FAMILY-per-project-region"
    limit: float | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)  # {"region": …, "vm_family": …}


class GcpError(CloudError):
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
    ) -> None:
        super().__init__(action, code, message)
        self.status = status
        self.reasons = reasons | {code}
        self.metadata = dict(metadata or {})
        self.quota = quota
        self.is_response = is_response
        """Whether Google answered."""
        self.is_operation = is_operation
        """Whether Google accepted the request, and its operation failed."""
        self.operation: Any = None
        """The operation that failed, an `Operation` of the SDK; else None."""
        self.errors: tuple[GcpError, ...] = (self,)
        """All errors of the operation; this is the first."""
        self.is_outcome_unknown = not is_operation and self._is_unknown

    @property
    def _is_unknown(self) -> bool:
        if self.is_throttled or self.is_capacity:
            return False
        return self.code in _UNKNOWN_OUTCOME or self.status in _UNKNOWN_STATUS

    @property
    def is_throttled(self) -> bool:
        """Whether Google did nothing, because there were too many requests."""
        return self.status == 429 or bool(self.reasons & _THROTTLED)

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed a little later."""
        is_not_ready = bool(self.reasons & _NOT_READY)
        return self.is_throttled or self.is_unreachable or is_not_ready or self.is_outcome_unknown

    @property
    def is_capacity(self) -> bool:
        """Whether this zone has no such instance, and another zone may have one."""
        return bool(self.reasons & _CAPACITY)

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
        return self.code in _UNREACHABLE

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
        text = self.message.lower()
        return is_reason or (self.status in (400, 403) and "billing" in text and "abled" in text)

    @property
    def constraint(self) -> str:
        """The organization policy's constraint that is violated: "compute.vmExternalIpAccess"."""
        match = _CONSTRAINT.search(self.message)
        return match[1] if match else ""

    @property
    def is_denied(self) -> bool:
        """Whether the credentials lack a permission."""
        if self.is_disabled or self.is_billing_disabled or self.is_throttled or self.is_quota:
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
        is_project = self.is_disabled or self.is_billing_disabled
        return self.is_denied or self.is_unauthenticated or is_project


def error_of_response(action: str, status: int, body: object) -> GcpError:
    """Return the error that an answer with this status is; ``body`` is its JSON, or its text."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):  # not of the API: of a proxy, or of a frontend of Google
        text = error if isinstance(error, str) else body if isinstance(body, str) else ""
        return GcpError(action, str(status), _first_line(text), status=status)
    errors = [entry for entry in _list(error, "errors") if isinstance(entry, Mapping)]
    reasons = [str(entry["reason"]) for entry in errors if entry.get("reason")]
    info, metadata, quota = _details(_list(error, "details"))
    status_name = str(error.get("status") or "")
    code = next(iter([*reasons, *info, status_name]), "") or str(status)
    return GcpError(
        action,
        code,
        str(error.get("message") or code),
        status=status,
        reasons=frozenset([*reasons, *info, *([status_name] if status_name else [])]),
        metadata=metadata,
        quota=quota,
    )


def error_of_operation(action: str, operation: Any) -> GcpError | None:
    """Return the error of an operation of the SDK that is done; None if it succeeded."""
    errors = [_operation_error(action, operation, entry) for entry in operation.error.errors]
    status = int(operation.http_error_status_code)
    if not errors and status >= 400:  # the body of a failed request without further errors
        message = operation.http_error_message or f"HTTP status {status}"
        errors = [GcpError(action, message, message, status=status, is_operation=True)]
    for error in errors:
        error.operation = operation
        error.errors = tuple(errors)
    return errors[0] if errors else None


def _operation_error(action: str, operation: Any, entry: Any) -> GcpError:
    reasons, metadata, quota = [], dict[str, str](), None
    for detail in entry.error_details:
        if detail.error_info.reason:
            reasons.append(detail.error_info.reason)
            metadata.update(detail.error_info.metadatas)
        info = detail.quota_info
        if info.metric_name:
            dimensions = dict(info.dimensions)
            quota = QuotaInfo(info.metric_name, info.limit_name, info.limit, dimensions)
    return GcpError(
        action,
        entry.code,
        entry.message or entry.code,
        status=int(operation.http_error_status_code),
        reasons=frozenset(reasons),
        metadata=metadata,
        quota=quota,
        is_operation=True,
    )


def _details(details: Sequence[Any]) -> tuple[list[str], dict[str, str], QuotaInfo | None]:
    """Return reasons, metadata and quota of what `google.rpc.Status` calls details."""
    reasons, metadata, quota = list[str](), dict[str, str](), None
    for detail in details:
        if not isinstance(detail, Mapping):
            continue
        kind = str(detail.get("@type", "")).rpartition(".")[2]
        if kind == "ErrorInfo":
            reasons.append(str(detail.get("reason", "")))
            given = detail.get("metadata") or detail.get("metadatas") or {}
            metadata.update({str(key): str(value) for key, value in given.items()})
        elif kind == "QuotaExceededInfo":
            quota = QuotaInfo(
                str(detail.get("metricName", "")),
                str(detail.get("limitName", "")),
                detail.get("limit"),
                detail.get("dimensions") or {},
            )
        elif kind == "Help" and "activationUrl" not in metadata:
            for link in _list(detail, "links"):
                metadata.setdefault("help", str(link.get("url", "")))
    return [reason for reason in reasons if reason], metadata, quota


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    entries = value.get(key)
    return entries if isinstance(entries, list) else []


def _first_line(text: str) -> str:
    """Return what an answer that is not JSON says, without its markup."""
    plain = " ".join(re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.S).split())
    return plain[:200] or "an answer without a text"
