"""Google's notices to an instance, read from the metadata server.

By "Spot VMs" (preemption), "Query metadata server for maintenance event notices" and "Monitor and
plan for a host maintenance event" of the Compute Engine documentation.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import trio

from bigmachine.cloud import MetadataError, parse_time
from bigmachine.system import Notice

from ._metadata import Metadata

# A change is seen at once, except in the moment between two requests.
_WAIT_SECONDS = 5
_UPCOMING_POLL_SECONDS = 60.0  # announced days ahead, or hours

_PREEMPTION = Notice("interruption", "Google preempts the spot instance")
_EVENTS = {
    "MIGRATE_ON_HOST_MAINTENANCE": Notice(
        "maintenance", "Google moves the instance to another host within minutes"
    ),
    # It does not start again: instances are launched without `automaticRestart`.
    "TERMINATE_ON_HOST_MAINTENANCE": Notice(
        "interruption", "Google stops the instance for maintenance of its host"
    ),
}


async def read_notices(url: str) -> AsyncIterator[Notice]:
    """Yield all notices of the metadata server at ``url``, again on every poll.

    Raises `MetadataError`.
    """
    metadata = Metadata(url)
    upcoming_due = trio.current_time()
    while True:
        if await metadata.read("instance/preempted") == "TRUE":
            yield _PREEMPTION
        event = await metadata.read("instance/maintenance-event")
        if event and event != "NONE":
            yield _EVENTS.get(event) or Notice("maintenance", f"Google announces {event}")
        if trio.current_time() >= upcoming_due:
            upcoming_due = trio.current_time() + _UPCOMING_POLL_SECONDS
            if upcoming := await _read_upcoming(metadata):
                yield _maintenance(upcoming)
        await metadata.read("instance/preempted", wait_seconds=_WAIT_SECONDS)


async def _read_upcoming(metadata: Metadata) -> Mapping[str, Any] | None:
    """Return the next scheduled maintenance of the host; None if there is none.

    That is answered by NONE, by {}, or by 503 with an error in JSON, whatever the documentation
    says (GoogleCloudPlatform/workloadagent, metadataserver.go), and by 404 for most types.
    """
    path = "instance/upcoming-maintenance"
    status, text = await metadata.request(f"{path}?alt=json")
    if status in (404, 503):
        return None
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise MetadataError(f"{path} is not JSON: {text!r}") from exc
    return found if isinstance(found, dict) and "error" not in found else None


def _maintenance(upcoming: Mapping[str, Any]) -> Notice:
    """Parse ``{"window_start_time": "2024-12-01T19:00:01Z", "type": "SCHEDULED", …}``.

    The keys are also written in camel case, as in the API.
    """
    start = upcoming.get("window_start_time") or upcoming.get("windowStartTime")
    kind = str(upcoming.get("type", "")).lower()
    detail = f"Google has announced {kind} maintenance of the instance's host".replace("  ", " ")
    return Notice("maintenance", detail, parse_time(start))
