"""Why instances no longer run: Compute Engine says so in the operations of their zones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bigmachine.cloud import Batch
from bigmachine.errors import StopReason
from bigmachine.system import Termination

from ..api._errors import GcpError
from ._vm import Vm, zone_of

if TYPE_CHECKING:
    from ..api._api import Api

logger = logging.getLogger("bigmachine.gcp")

_MAX_URLS = 10  # in one filter, whose length limit is not documented

# What Google does by itself is an operation whose type begins so ("System event audit logs";
# GoogleCloudPlatform/PerfKitBenchmarker names all of them). Of several, the first here counts:
# an instance that is preempted or has reached its lifetime is then stopped or deleted.
_REASONS = {
    "compute.instances.preempted": (
        StopReason.INTERRUPTED,
        "Compute Engine preempted the spot instance",
    ),
    "compute.instances.hostError": (StopReason.GONE, "its host failed"),
    "compute.instances.terminateOnHostMaintenance": (
        StopReason.GONE,
        "Compute Engine took its host out for maintenance",
    ),
    # What it is called when `maxRunDuration` is over, by what is then to be done.
    "compute.instances.deferredDelete": (StopReason.GONE, "its lifetime was over"),
    "compute.instances.deferredStop": (StopReason.GONE, "its lifetime was over"),
    "compute.instances.guestTerminate": (StopReason.EXITED, "it powered itself off"),
    "delete": (StopReason.GONE, "somebody deleted it"),
    "stop": (StopReason.GONE, "somebody stopped it"),
    "suspend": (StopReason.GONE, "somebody suspended it"),
}
_BY_PEOPLE = ("delete", "stop", "suspend")


class Terminations:
    """Explains why instances have ended. Tasks that ask at once share requests."""

    def __init__(self, api: Api, *, service_account: str = "") -> None:
        self._api = api
        self._service_account = service_account
        self._zones: dict[str, Batch[list[Any]]] = {}

    async def explain(
        self, id: str, vm: Vm | None, *, url: str, is_new: bool
    ) -> Termination | None:
        """Return why an instance ended that is now ``vm``, or is not found.

        Returns None for one that is not found while it ``is_new``, unless an operation has ended
        it: it may not be found yet. ``url`` is its URL as Compute Engine gave it. Raises nothing of
        Google's.
        """
        state = f"its instance is {vm.state}" if vm else "Compute Engine no longer has its instance"
        if vm is not None and vm.state_message:
            state += f" ({vm.state_message})"
        why = ""
        try:
            operations = await self._operations(zone_of(id), url) if url else []
            if found := _termination(operations, self._service_account):
                return found
            events = [op.operation_type for op in operations if "." in op.operation_type]
            why = f" (Compute Engine says {', '.join(events)})" if events else ""
        except GcpError as error:
            logger.debug("the operations on %s are unknown: %s", id, error)
            why = f", and why is unknown: {error.message}"
        return None if vm is None and is_new else Termination(StopReason.GONE, state + why)

    async def _operations(self, zone: str, url: str) -> list[Any]:
        if zone not in self._zones:

            async def find(urls: Sequence[str]) -> dict[str, list[Any]]:
                return await self._find(zone, urls)

            self._zones[zone] = Batch(find, max_keys=_MAX_URLS)
        return await self._zones[zone](url) or []

    async def _find(self, zone: str, urls: Sequence[str]) -> dict[str, list[Any]]:
        filter = " OR ".join(f'(targetLink = "{url}")' for url in urls)
        found: dict[str, list[Any]] = {}
        for raw in await self._api.read_all("zone_operations.list", zone=zone, filter=filter):
            found.setdefault(raw.target_link, []).append(raw)
        return found


def _termination(operations: Sequence[Any], service_account: str) -> Termination | None:
    """Return the reason that operations on an instance show, if they do."""
    by_type = {operation.operation_type: operation for operation in operations}
    for type, (reason, detail) in _REASONS.items():
        if type not in by_type:
            continue
        operation = by_type[type]
        if type == "delete" and operation.user and operation.user == service_account:
            reason, detail = StopReason.EXITED, "it deleted itself"
        said = f"{type} by {operation.user}" if type in _BY_PEOPLE and operation.user else type
        message = f": {operation.status_message}" if operation.status_message else ""
        return Termination(reason, f"{detail} (Compute Engine says {said}{message})")
    return None
