"""What Google answers about an error, in JSON or in an operation, as a `GcpError`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bigmachine.cloud import plain_text

from ._errors import GcpError, QuotaInfo


def error_of_response(
    action: str, status: int, body: object, *, clock_skew: float = 0.0
) -> GcpError:
    """Return the error that an answer with this status is; ``body`` is its JSON, or its text."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):  # not of the API: of a proxy, or of a frontend of Google
        text = error if isinstance(error, str) else body if isinstance(body, str) else ""
        message = plain_text(text) or "an answer without a text"
        return GcpError(action, str(status), message, status=status, clock_skew=clock_skew)
    errors = [entry for entry in _list(error, "errors") if isinstance(entry, Mapping)]
    reasons = [str(entry["reason"]) for entry in errors if entry.get("reason")]
    info, metadata, quota = _details(_list(error, "details"))
    status_name = str(error.get("status") or "")
    code = next(iter([*reasons, *info, status_name]), "") or str(status)
    return GcpError(
        action,
        code,
        _message(error, errors) or code,
        status=status,
        reasons=frozenset([*reasons, *info, *([status_name] if status_name else [])]),
        metadata=metadata,
        quota=quota,
        clock_skew=clock_skew,
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


def _message(error: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> str:
    """Return all that an answer says: its message is only the first error's."""
    texts = [error.get("message"), *(entry.get("message") for entry in errors)]
    return " ".join(dict.fromkeys(str(text).strip() for text in texts if text))


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    entries = value.get(key)
    return entries if isinstance(entries, list) else []
