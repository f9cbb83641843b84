"""The operations of bulk inserts: until one has ended, more instances may come."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import for_each, poll_intervals

from ..api._errors import GcpError
from ..api._operations import Operation
from ..options._option_formats import last_part, region_of
from ._vm import Vm
from ._vms import Vms

if TYPE_CHECKING:
    from ..api._api import Api

ACTION = "compute.instances.bulkInsert"
_LISTED_SECONDS = 20.0  # a list may lack an instance that was made a moment ago


def request_id(token: str) -> str:
    """Return the id of the request with this token, which its operation has as well."""
    return str(uuid.UUID(hex=token))


def created_by(operation: Any) -> dict[str, int]:
    """Return how many instances an operation has left running, by zone. Any: the SDK's message."""
    status = operation.instances_bulk_insert_operation_metadata.per_location_status
    created = {
        last_part(location): each.created_vm_count - each.deleted_vm_count
        for location, each in status.items()
    }
    return {zone: count for zone, count in created.items() if count > 0}


async def await_launched(
    vms: Vms, tokens: Sequence[str], created: Mapping[str, int]
) -> Sequence[Vm]:
    """Return the instances that requests have launched, as soon as they are listed.

    ``created`` says how many, by zone. Those that were preempted meanwhile are not among them.
    Raises `GcpError`.
    """
    found: list[Vm] = []
    with trio.move_on_after(_LISTED_SECONDS):
        for delay in poll_intervals():
            listed = await vms.find(tokens=tokens, zones=[*created])
            found = [vm for vm in listed if not (vm.has_ended and vm.market == "spot")]
            if len(found) >= sum(created.values()):
                break
            await trio.sleep(delay)
    return found


async def await_operations(
    api: Api, tokens: Iterable[str], zones: Sequence[str], *, seconds: float
) -> tuple[dict[str, int], set[str]]:
    """Wait until the operations of requests with these tokens have ended.

    Returns how many instances they have created, by zone, and the tokens of those that have not
    ended after so many ``seconds``. Requests that Google has not got have no operation. Raises
    `GcpError` if operations can't be listed.
    """
    by_id = {request_id(token): token for token in tokens}
    filter = " OR ".join(f'(clientOperationId = "{id}")' for id in by_id)
    region = region_of(zones[0])
    found = await api.read_all("region_operations.list", region=region, filter=filter)
    for zone in zones:
        found += await api.read_all("zone_operations.list", zone=zone, filter=filter)
    unfinished = {by_id[each.client_operation_id] for each in found}
    created: dict[str, int] = {}

    async def wait(operation: Any) -> None:
        token = by_id[operation.client_operation_id]
        try:
            operation = await api.wait(Operation.of(ACTION, operation))
        except GcpError as error:
            if error.operation is None:  # it is unknown whether it has ended
                return
            operation = error.operation
        unfinished.discard(token)
        for zone, count in created_by(operation).items():
            created[zone] = created.get(zone, 0) + count

    with trio.move_on_after(seconds):
        await for_each(found, wait)
    return created, unfinished


def unfinished_error(seconds: float) -> GcpError:
    """Return the error that an operation has not ended after so many seconds."""
    error = GcpError(
        ACTION, "OPERATION_UNFINISHED", f"the operation has not ended after {seconds:g} s"
    )
    error.is_outcome_unknown = True
    return error
