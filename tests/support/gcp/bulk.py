"""bulkInsert: many instances by one request, in one zone or in the zones of a region.

By "About bulk creation of VMs" and "Troubleshooting bulk VM creation": the request is refused at
once where it is seen that it can't succeed; else its operation is answered as RUNNING, and there is
an ``insert`` operation for each instance, with the same ``operationGroupId``, which says why it
failed. The bulk operation itself may say no more than VM_MIN_COUNT_NOT_REACHED.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.bulk_requests import BulkRequest, Shape, parse
from tests.support.gcp.calls import Call, implements
from tests.support.gcp.errors import GceError, OperationError
from tests.support.gcp.instance_documents import new_document
from tests.support.gcp.instances import Vm

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

MOST_AT_ONCE = 10
"""Bulk operations ("you have more than 10 bulk operations running at the same time")."""


@dataclass
class _Bulk:
    """One bulk insert that is being carried out."""

    request: BulkRequest
    document: dict[str, Any]
    """That of its operation."""
    group: str
    made: list[Vm] = field(default_factory=list)
    errors: list[OperationError] = field(default_factory=list)
    left: int = 0
    """How many instances' operations are not done."""
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The status of each zone, by zone."""


@dataclass
class BulkInserts:
    """Carries out bulk inserts."""

    gce: Gce
    refuses_at_once: bool = False
    """Whether a request is refused if no pool that it allows has room, as Google may see."""
    running: int = 0

    @implements("instances.bulkInsert")
    def in_zone(self, call: Call) -> Any:
        self.gce.places.check_zone(call.zone)
        self.gce.check_reachable(call.zone)
        return self._begin(call, f"zones/{call.zone}")

    @implements("regionInstances.bulkInsert")
    def in_region(self, call: Call) -> Any:
        self.gce.places.check_region(call.region)
        return self._begin(call, f"regions/{call.region}")

    def _begin(self, call: Call, scope: str) -> Any:
        request = parse(self.gce, call, scope)
        if self.running >= MOST_AT_ONCE:
            text = "Rate Limit Exceeded: too many concurrent bulk insert operations."
            raise GceError(403, "rateLimitExceeded", text, "usageLimits")
        plan = self._plan(request)
        self._check_now(request, plan)
        group = str(uuid.UUID(int=int(self.gce.new_id()) * 2**32))
        bulk = _Bulk(request, {}, group, left=len(plan))
        for _, shape in plan:
            counts = bulk.counts.setdefault(shape.zone, {"targetVmCount": 0, "status": "CREATING"})
            counts["targetVmCount"] += 1
        operation = self.gce.operations.add(
            call,
            scope,
            "bulkInsert",
            scope,
            status="RUNNING",
            startTime=self.gce.timeline.timestamp(),
            operationGroupId=group,
        )
        bulk.document = operation.document
        bulk.document["instancesBulkInsertOperationMetadata"] = {
            "perLocationStatus": {f"zones/{zone}": of for zone, of in bulk.counts.items()}
        }
        self.running += 1
        answer = copy.deepcopy(bulk.document)

        def settle() -> None:
            if bulk.left:
                self.gce.timeline.after(self.gce.operations.step_seconds, settle)
                return
            self.running -= 1
            error = self._roll_back(call, bulk) if len(bulk.made) < request.least else None
            for counts in bulk.counts.values():
                counts["status"] = "DONE"
            if error:
                bulk.document.update(error)
            self.gce.operations.finish(operation)

        for name, shape in plan:
            self._insert(call, bulk, name, shape)
        self.gce.timeline.after(2 * self.gce.operations.step_seconds, settle)
        return answer

    def _plan(self, request: BulkRequest) -> list[tuple[str, Shape]]:
        """Choose where to make each instance: where there seems to be room.

        Those for which there is none are tried in the first place all the same, and fail.
        """
        room = {shape.pool: self.gce.capacity.room(shape.pool) for shape in request.shapes}
        zones = request.zones_by_room(room)
        plan: list[tuple[str, Shape]] = []
        taken = dict.fromkeys(zones, 0)
        for name in request.names:
            chosen = next(
                (
                    shape
                    for shape in request.shapes_in(zones, taken)
                    if room[shape.pool] > 0 and taken[shape.zone] < request.most_in(shape.zone)
                ),
                request.shapes_in(zones[:1], taken)[0],
            )
            room[chosen.pool] -= 1
            taken[chosen.zone] += 1
            plan.append((name, chosen))
        return plan

    def _check_now(self, request: BulkRequest, plan: list[tuple[str, Shape]]) -> None:
        name, shape = plan[0]
        error = self.gce.quotas.error_of({**shape.body, "name": name}, shape.zone)
        if error and self.gce.quotas.at_once:
            raise GceError(403, "quotaExceeded", error.message, "usageLimits")
        has_room = any(self.gce.capacity.room(shape.pool) > 0 for shape in request.shapes)
        if self.refuses_at_once and not has_room:
            text = f"There is not enough capacity in {request.scope} to fulfill the request."
            raise GceError(503, "insufficientCapacity", text)

    def _insert(self, call: Call, bulk: _Bulk, name: str, shape: Shape) -> None:
        vm = Vm(shape.zone, new_document(self.gce, shape.zone, {**shape.body, "name": name}))
        counts = bulk.counts[shape.zone]

        def attempt(step: Callable[[Vm], None]) -> None:
            try:
                step(vm)
            except OperationError as error:
                bulk.left -= 1
                bulk.errors.append(error)
                counts["failedToCreateVmCount"] = counts.get("failedToCreateVmCount", 0) + 1
                raise

        def create() -> None:
            attempt(self.gce.instances.create)

        def run() -> None:
            attempt(self.gce.instances.run)
            bulk.left -= 1
            bulk.made.append(vm)
            counts["createdVmCount"] = counts.get("createdVmCount", 0) + 1

        self.gce.operations.begin(
            Call("instances.insert", {}, {}, call.user),  # a request that nobody sent has no id
            f"zones/{shape.zone}",
            "insert",
            vm.path,
            target_id=vm.id,
            start=create,
            finish=run,
            operationGroupId=bulk.group,
        )

    def _roll_back(self, call: Call, bulk: _Bulk) -> Mapping[str, Any]:
        """Delete what was made, and return what the operation says of it."""
        for vm in bulk.made:
            counts = bulk.counts[vm.zone]
            counts["deletedVmCount"] = counts.get("deletedVmCount", 0) + 1
            self.gce.instances.stop_running(vm)
            self.gce.instances.remove(vm)
            self.gce.operations.past(f"zones/{vm.zone}", "delete", vm.path, target_id=vm.id)
        text = f"Requested minimum count of {bulk.request.least} VMs could not be created."
        fields = OperationError("VM_MIN_COUNT_NOT_REACHED", text, 400).fields()
        if self.gce.chance.of("the causes in a bulk operation", 0.5):
            # It sometimes names the causes, too (skypilot-org/skypilot, its GCP tests).
            for error in bulk.errors[:1]:
                fields["error"]["errors"] += error.fields()["error"]["errors"]
        return fields
