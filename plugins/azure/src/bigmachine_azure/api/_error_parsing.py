"""What Azure answers about an error, in an answer's body or in an operation, as an `AzureError`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from bigmachine.cloud import clock_skew, plain_text

from ._errors import AzureError

_DEPTH = 5  # of details in details


def error_of_response(
    action: str, status: int, body: object, headers: Mapping[str, str]
) -> AzureError:
    """Return the error that an answer is; ``body`` is its JSON, or its text."""
    return _error(
        action,
        _error_object(body),
        status=status,
        text=body if isinstance(body, str) else "",
        retry_after=retry_after(headers),
        clock_skew=clock_skew(headers.get("Date") or ""),
    )


def error_of_operation(action: str, answer: Mapping[str, Any]) -> AzureError:
    """Return the error of an operation that failed, or of a resource that could not be made.

    ``answer`` is what the operation's URL answers; if it does not say why, the code is its status:
    ``Failed`` or ``Canceled``.
    """
    given = answer.get("error")
    state = str(answer.get("status") or "Failed")
    return _error(
        action,
        given if isinstance(given, Mapping) and given.get("code") else {"code": state},
        text="the operation has no error message",
        is_operation=True,
    )


def retry_after(headers: Mapping[str, str]) -> float:
    """Return how many seconds an answer asks to wait, by its Retry-After; 0.0 if it does not.

    It is a number, or a date (RFC 9110, 10.2.3).
    """
    value = headers.get("Retry-After") or ""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def _error_object(body: object) -> Mapping[str, Any]:
    """Return an answer's object with `code` and `message`; {} if the answer is not ARM's."""
    if not isinstance(body, Mapping):
        return {}
    error = body.get("error")
    if isinstance(error, Mapping):
        return error
    if isinstance(error, str):  # of Microsoft Entra ID: {"error": "…", "error_description": "…"}
        return {"code": error, "message": body.get("error_description") or ""}
    return body if "code" in body or "Code" in body else {}


def _error(
    action: str, error: Mapping[str, Any], *, text: str = "", depth: int = 0, **more: Any
) -> AzureError:
    """Return the error of an object with `code` and `message`, with those that it contains."""
    error = {key[:1].lower() + key[1:]: value for key, value in error.items()}
    message = str(error.get("message") or "").strip()
    nested = _nested(message)
    if nested and depth < _DEPTH:  # of a provider behind another: its answer's JSON is the message
        error = {**error, **nested}
        message = str(nested.get("message") or "").strip()
    code = str(error.get("code") or more.get("status") or "") or "Unknown"
    details = tuple(
        _error(
            action, each, depth=depth + 1, **{k: v for k, v in more.items() if k == "is_operation"}
        )
        for each in _details(error)
        if depth < _DEPTH
    )
    texts = dict.fromkeys([message, *(each.message for each in details)])
    return AzureError(
        action,
        code,
        " ".join(filter(None, texts)) or plain_text(text) or code,
        target=str(error.get("target") or ""),
        details=details,
        policies=tuple(_policies(error)),
        **more,
    )


def _nested(message: str) -> Mapping[str, Any]:
    if not message.startswith("{"):
        return {}
    try:
        return _error_object(json.loads(message))
    except ValueError:
        return {}


def _details(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    for each in details if isinstance(details, list) else []:
        if isinstance(each, Mapping) and each:
            yield each
    inner = error.get("innererror") or error.get("innerError")
    if isinstance(inner, Mapping) and inner.get("code"):
        yield inner


def _policies(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    additional = error.get("additionalInfo")
    for each in additional if isinstance(additional, list) else []:
        if isinstance(each, Mapping) and each.get("type") == "PolicyViolation":
            yield each.get("info") or {}
