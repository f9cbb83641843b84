"""Errors in Google's own shapes: those of a request, and those of an operation.

The shapes are those of answers that users have shown, as in kubernetes/k8s.io#9834 (a stockout in
an operation, with its details) and GoogleCloudPlatform/ai-on-gke#849.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RPC_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
OPERATION_STATUS = {
    400: "BAD REQUEST",
    403: "FORBIDDEN",
    409: "CONFLICT",
    412: "PRECONDITION FAILED",
}


@dataclass
class GceError(Exception):
    """An answer to a request that says why it was not carried out."""

    status: int
    reason: str
    message: str
    domain: str = "global"
    details: Sequence[Mapping[str, Any]] = ()
    """As google.rpc has them; only with these does the answer name the status of an RPC."""

    def body(self) -> dict[str, Any]:
        """Return the answer's content."""
        item = {"message": self.message, "domain": self.domain, "reason": self.reason}
        error = {"code": self.status, "message": self.message, "errors": [item]}
        if self.details:
            error["status"] = RPC_STATUS[self.status]
            error["details"] = [*self.details]
        return {"error": error}


@dataclass
class OperationError(Exception):
    """Why an operation failed that had been begun."""

    code: str
    """As ``ZONE_RESOURCE_POOL_EXHAUSTED``."""
    message: str
    status: int = 503
    details: Sequence[Mapping[str, Any]] = ()
    """``errorDetails``: one each of ``errorInfo``, ``quotaInfo``, ``help``…"""

    def fields(self) -> dict[str, Any]:
        """Return what an operation has of it."""
        error = {"code": self.code, "message": self.message}
        if self.details:
            error["errorDetails"] = [*self.details]  # type: ignore[assignment]
        return {
            "error": {"errors": [error]},
            "httpErrorStatusCode": self.status,
            "httpErrorMessage": OPERATION_STATUS.get(self.status, "SERVICE UNAVAILABLE"),
        }


def not_found(path: str) -> GceError:
    return GceError(404, "notFound", f"The resource '{path}' was not found")


def already_exists(path: str) -> GceError:
    return GceError(409, "alreadyExists", f"The resource '{path}' already exists")


def invalid(field: str, value: Any, why: str) -> GceError:
    """Return that of a field which has an unusable value; ``field`` as ``resource.name``."""
    return GceError(400, "invalid", f"Invalid value for field '{field}': '{value}'. {why}")


def in_use(path: str, user: str) -> GceError:
    text = f"The {path.split('/')[-2].removesuffix('s')} resource '{path}' is already being used"
    return GceError(400, "resourceInUseByAnotherResource", f"{text} by '{user}'")
