"""Operations: what a change is answered with; they go through PENDING and RUNNING to DONE."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.calls import Call, implements
from tests.support.gcp.errors import GceError, OperationError, not_found
from tests.support.gcp.lists import one_page

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

WAIT_SECONDS = 120.0
"""That ``wait`` waits at most ("no more than the default deadline", which is 2 minutes)."""


@dataclass
class Operation:
    """One operation; its document is what is answered."""

    scope: str
    """As ``zones/us-central1-a``, or ``global``."""
    document: dict[str, Any]
    is_held: bool = False
    """Whether it stays as it is until a test lets it go on."""

    @property
    def is_done(self) -> bool:
        return bool(self.document["status"] == "DONE")


@dataclass
class Operations:
    """All operations of a project."""

    gce: Gce
    step_seconds: float = 0.01
    """How long an operation is PENDING, and then RUNNING."""
    all: list[Operation] = field(default_factory=list)
    _by_request: dict[str, tuple[str, Operation]] = field(default_factory=dict)
    _numbers: Iterable[int] = field(default_factory=lambda: itertools.count(1))

    def begin(
        self,
        call: Call,
        scope: str,
        kind: str,
        target: str,
        *,
        target_id: str = "",
        start: Callable[[], None] = lambda: None,
        is_ready: Callable[[], bool] = lambda: True,
        finish: Callable[[], None] = lambda: None,
        seconds: float = 0.0,
        **more: Any,
    ) -> dict[str, Any]:
        """Begin an operation, which is of a ``kind`` as ``insert``, and return its document.

        ``start`` is called when it becomes RUNNING, and ``finish`` when it becomes DONE, not before
        it ``is_ready``; either may raise `OperationError`. ``target`` is a path below the project,
        as ``zones/Z/instances/I``.
        """
        operation = self.add(call, scope, kind, target, target_id=target_id, **more)

        def run() -> None:
            operation.document.update(status="RUNNING", startTime=self.gce.timeline.timestamp())
            try:
                start()
            except OperationError as error:
                self.fail(operation, error)
            else:
                self.gce.timeline.after(seconds or self.step_seconds, end)

        def end() -> None:
            if not is_ready():
                self.gce.timeline.after(seconds or self.step_seconds, end)
                return
            try:
                finish()
            except OperationError as error:
                self.fail(operation, error)
            else:
                self.finish(operation)

        self.gce.timeline.after(self.step_seconds, run)
        return dict(operation.document)

    def add(
        self, call: Call, scope: str, kind: str, target: str, *, target_id: str = "", **more: Any
    ) -> Operation:
        """Add one that a call has begun, and which its caller finishes."""
        operation = self._new(call.user, scope, kind, target, target_id, **more)
        if call.requestId:
            operation.document["clientOperationId"] = call.requestId
            self._by_request[call.requestId] = (_fingerprint(call), operation)
        return operation

    def past(self, scope: str, kind: str, target: str, *, target_id: str, **more: Any) -> Operation:
        """Add one that is done already, of what Google itself did, as a preemption."""
        operation = self._new("system", scope, kind, target, target_id, **more)
        operation.document.update(startTime=self.gce.timeline.timestamp())
        self.finish(operation)
        return operation

    def finish(self, operation: Operation) -> None:
        operation.document.update(
            status="DONE", progress=100, endTime=self.gce.timeline.timestamp()
        )

    def fail(self, operation: Operation, error: OperationError) -> None:
        operation.document.update(error.fields())
        self.finish(operation)

    def replay(self, call: Call) -> dict[str, Any] | None:
        """Return the operation that an earlier request with the same id began, if any.

        The same id with another request is refused (openshift/cluster-api-provider-gcp#19).
        """
        if call.requestId not in self._by_request:
            return None
        fingerprint, operation = self._by_request[call.requestId]
        if fingerprint != _fingerprint(call):
            raise GceError(
                400,
                "invalid",
                f"Invalid value for field 'requestId': '{call.requestId}'. The request ID was "
                "already used with a different request.",
            )
        return dict(operation.document)

    @implements("zoneOperations.get", "regionOperations.get", "globalOperations.get")
    def get(self, call: Call) -> Any:
        return dict(self._find(call).document)

    @implements("zoneOperations.wait", "regionOperations.wait", "globalOperations.wait")
    def wait(self, call: Call) -> Any:
        operation = self._find(call)
        # "This method is called on a best-effort basis": when it is overloaded, it answers at once.
        if not operation.is_done and not self.gce.chance.of("an early answer of wait", 0.2):
            self.gce.wait_until(lambda: operation.is_done, WAIT_SECONDS)
        return dict(operation.document)

    @implements("zoneOperations.list", "regionOperations.list", "globalOperations.list")
    def list(self, call: Call) -> Any:
        scope = _scope_of(call)
        found = [operation.document for operation in self.all if operation.scope == scope]
        return one_page(call, "compute#operationList", found, self.gce.link(f"{scope}/operations"))

    def _new(
        self, user: str, scope: str, kind: str, target: str, target_id: str, **more: Any
    ) -> Operation:
        name = f"operation-{next(iter(self._numbers)):013}-{self.gce.new_id()[-8:]}"
        path = f"{scope}/operations/{name}"
        document = {
            "kind": "compute#operation",
            "id": self.gce.new_id(),
            "name": name,
            "operationType": kind,
            "targetLink": self.gce.link(target),
            "targetId": target_id or self.gce.new_id(),
            "status": "PENDING",
            "user": user,
            "progress": 0,
            "insertTime": self.gce.timeline.timestamp(),
            "selfLink": self.gce.link(path),
            **more,
        }
        place, _, place_name = scope.partition("/")
        if place_name:
            document[place.removesuffix("s")] = self.gce.link(scope)
        operation = Operation(scope, document)
        self.all.append(operation)
        return operation

    def _find(self, call: Call) -> Operation:
        scope = _scope_of(call)
        for operation in self.all:
            of = (operation.document["name"], operation.document["id"])
            if operation.scope == scope and call.operation in of:
                return operation
        raise not_found(f"projects/{call.project}/{scope}/operations/{call.operation}")


def _scope_of(call: Call) -> str:
    if call.zone:
        return f"zones/{call.zone}"
    return f"regions/{call.region}" if call.region else "global"


def _fingerprint(call: Call) -> str:
    return json.dumps([call.method, dict(call.parameters), call.body], sort_keys=True)
