"""How an operation is followed until its end, in whichever way Azure tells of it.

The SDK's own pollers take a thread each, and ask every 30 seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from bigmachine.cloud import poll_intervals

from ._error_parsing import error_of_operation, retry_after
from ._errors import AzureError
from ._operations import FINAL_STATES, Operation, is_in_progress, provisioning_state
from ._transport import Answer

Get = Callable[[str], Awaitable[Answer]]
"""GETs a URL."""

_LONGEST_POLL = 10.0  # seconds, also if Azure's Retry-After is longer


async def outcome(operation: Operation, get: Get) -> dict[str, Any]:
    """Wait until an operation is done; return what it says, of a PUT the resource as it is now.

    Raises the `AzureError` with which it failed. Its URL wants a permission of its own, as
    Microsoft.Network/locations/operations/read, which not every role has that may change something
    ("Permission for tracking async status"); then it is seen by its resource.
    """
    if operation.is_done:
        return _checked(operation, dict(operation.result))
    try:
        if operation.status_url:
            return await _by_status(operation, get)
        if operation.location_url and operation.status == 202:
            return await _by_location(operation, get)
    except AzureError as error:
        if error.is_operation or not error.is_denied or operation.method == "POST":
            raise
    return await _by_resource(operation, get)


async def _by_status(operation: Operation, get: Get) -> dict[str, Any]:
    """Poll the URL of Azure-AsyncOperation: ``{"status": …, "properties": …, "error": …}``."""

    def state(answer: Answer) -> str:
        return str(answer.body.get("status") or provisioning_state(answer.body)).lower()

    url = operation.status_url
    answer = await _poll(operation, url, get, lambda answer: state(answer) in FINAL_STATES)
    if state(answer) != "succeeded":
        raise error_of_operation(operation.action, answer.body)
    if operation.method in ("PUT", "PATCH"):
        return (await get(operation.url)).body or {}
    return answer.body.get("properties") or {}


async def _by_location(operation: Operation, get: Get) -> dict[str, Any]:
    """Poll the URL of Location, until it answers something else than 202."""
    url = operation.location_url
    answer = await _poll(operation, url, get, lambda answer: answer.status != 202)
    if operation.method in ("PUT", "PATCH"):
        answer = await get(operation.url)
    return _checked(operation, answer.body or {})


async def _by_resource(operation: Operation, get: Get) -> dict[str, Any]:
    """Poll the resource itself, until its `provisioningState` is final."""
    url = operation.resource_url
    answer = await _poll(operation, url, get, lambda answer: not is_in_progress(answer.body or {}))
    return _checked(operation, answer.body or {})


async def _poll(
    operation: Operation, url: str, get: Get, is_end: Callable[[Answer], bool]
) -> Answer:
    """GET a URL until its answer is the end, or until what is deleted is not found."""
    pause = operation.retry_after
    for interval in poll_intervals():
        await trio.sleep(min(max(pause, interval), _LONGEST_POLL))
        try:
            answer = await get(url)
        except AzureError as error:
            if operation.method == "DELETE" and error.is_not_found:
                return Answer("GET", url, 204, {}, {"status": "Succeeded"})
            raise
        if is_end(answer):
            return answer
        pause = retry_after(answer.headers)
    raise AssertionError  # polls have no end


def _checked(operation: Operation, resource: dict[str, Any]) -> dict[str, Any]:
    if provisioning_state(resource).lower() in FINAL_STATES - {"succeeded"}:
        raise error_of_operation(operation.action, {"status": provisioning_state(resource)})
    return resource
