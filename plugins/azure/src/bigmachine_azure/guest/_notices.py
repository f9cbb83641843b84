"""Azure's notices to a virtual machine: its scheduled events, read from the metadata service.

By "Azure Metadata Service: Scheduled Events for Linux VMs". The events are not approved: Azure
would begin at once, and they begin by themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import trio

from bigmachine.cloud import parse_time
from bigmachine.system import Notice

from ._metadata import Metadata

_TARGET = "scheduledevents?api-version=2020-07-01"
_POLL_SECONDS = 2.0  # a spot VM has 30 seconds
_FIRST_TIMEOUT = 125.0  # the first request enables the events, and takes up to two minutes
_TIMEOUT = 10.0

# A machine does not survive a reboot: what it runs is in memory.
_EVENTS = {
    "Preempt": ("interruption", "Azure evicts the spot VM"),
    "Terminate": ("interruption", "Azure deletes the VM"),
    "Reboot": ("interruption", "Azure restarts the VM, which ends its machine"),
    "Redeploy": ("interruption", "Azure moves the VM to another host, which ends its machine"),
    "Freeze": ("maintenance", "Azure pauses the VM"),
}


async def read_notices(url: str) -> AsyncIterator[Notice]:
    """Yield all notices of the metadata service at ``url``, again on every poll.

    Raises `MetadataError`.
    """
    metadata = Metadata(url)
    name = await metadata.read("compute/name") or ""
    # Of an event that has begun there is no time any more: it has the notice that it had.
    notices: dict[str, Notice] = {}
    timeout = _FIRST_TIMEOUT
    while True:
        found = await metadata.read_json(_TARGET, timeout=timeout)
        timeout = _TIMEOUT
        for event in (found or {}).get("Events", ()):
            if _concerns(event, name):
                yield notices.setdefault(str(event.get("EventId")), _notice(event))
        await trio.sleep(_POLL_SECONDS)


def _concerns(event: Mapping[str, Any], name: str) -> bool:
    """Whether an event is about the VM of that name: those of a group are told of all of it."""
    names = [str(resource).lower() for resource in event.get("Resources", ())]
    return not names or not name or name.lower() in names


def _notice(event: Mapping[str, Any]) -> Notice:
    """Parse ``{"EventType": "Preempt", "NotBefore": "Tue, 09 Aug 2022 17:07:32 GMT", …}``."""
    type = str(event.get("EventType"))
    kind, detail = _EVENTS.get(type) or ("maintenance", f"Azure announces {type}")
    seconds = event.get("DurationInSeconds")  # -1 if that is unknown
    if type == "Freeze" and isinstance(seconds, int) and seconds > 0:
        detail += f" for {seconds} s"
    if description := event.get("Description"):
        detail += f": {str(description).rstrip('.')}"
    return Notice(kind, detail, parse_time(event.get("NotBefore")))
