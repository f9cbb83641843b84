"""Operations: what changes are answered with that take a while ("Track asynchronous operations").

Their URLs are in ``Azure-AsyncOperation`` (a document with a status) and in ``Location`` (202 until
they have ended). Both are signed, so that they are a thousand characters long.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import SUBSCRIPTION, Answer, Call, implements
from tests.support.azure.errors import ArmError

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

_OF_LOCATION = "providers/{}/locations/{{location}}"
_COMPUTE, _NETWORK = (
    f"{SUBSCRIPTION}/{_OF_LOCATION.format(name)}"
    for name in ("Microsoft.Compute", "Microsoft.Network")
)
_DISKS = "DiskOperations"


@dataclass
class Operation:
    """One operation."""

    name: str
    target: str
    """The id of what it is about, in lower case."""
    path: str
    """The part of its URLs that says where it is, as ``/subscriptions/…/locations/westeurope``."""
    started: str
    kind: str = "operations"
    """What its URLs call it: disks have operations of their own, ``DiskOperations``."""
    signature: str = field(default_factory=lambda: secrets.token_urlsafe(750))
    status: str = "InProgress"
    ended: str = ""
    error: ArmError | None = None
    result: Any = None
    """What its ``Location`` answers in the end."""
    is_held: bool = False
    """Whether it stays as it is until a test lets it go on."""


@dataclass
class Operations:
    """All operations."""

    arm: Arm
    seconds: float = 0.02
    """How long an operation takes."""
    retry_after: dict[str, int] = field(default_factory=dict)
    """``Retry-After`` of answers, by provider; Microsoft.Compute sends none (its SDK's poller)."""
    all: dict[str, Operation] = field(default_factory=dict)

    def begin(
        self,
        call: Call,
        status: int,
        body: Any = None,
        *,
        location: str,
        target: str = "",
        is_ready: Callable[[], bool] = lambda: True,
        finish: Callable[[], Any] = lambda: None,
        seconds: float | None = None,
    ) -> Answer:
        """Begin an operation, and return the answer that tells of it.

        ``finish`` is called when it ends, not before it ``is_ready``. It returns the operation's
        result, or raises `ArmError`. The ``target`` is by default what was called.
        """
        operation = Operation(
            self.arm.new_guid(),
            (target or call.path).lower(),
            f"/subscriptions/{call.subscription}/providers/{call.provider}/locations/{location}",
            self.arm.timeline.timestamp(),
            kind=_DISKS if "/disks/" in call.path.lower() else "operations",
        )
        self.all[operation.name] = operation
        delay = self.seconds if seconds is None else seconds
        pauses = itertools.chain([self.seconds] * 50, itertools.repeat(1.0))

        def end() -> None:
            if operation.status != "InProgress":
                return  # preempted
            if operation.is_held or not is_ready():
                self.arm.timeline.after(next(pauses), end)
                return
            try:
                operation.result = finish()
            except ArmError as error:
                self.fail(operation, error)
            else:
                self._end(operation, "Succeeded")

        self.arm.timeline.after(delay, end)
        return Answer(status, body, self._headers(call, operation, status))

    def fail(self, operation: Operation, error: ArmError) -> None:
        """End an operation that has failed."""
        operation.error = error
        self._end(operation, "Failed")

    def preempt(self, target: str) -> None:
        """End all operations of a resource that go on, because another one replaces them."""
        for operation in self.all.values():
            if operation.target == target.lower() and operation.status == "InProgress":
                text = "Operation execution has been preempted by a more recent operation."
                operation.error = ArmError(409, "OperationPreempted", text)
                self._end(operation, "Canceled")

    def check_idle(self, target: str) -> None:
        """Refuse a change of a resource of Microsoft.Network of which one still goes on."""
        if "/providers/microsoft.network/" not in target.lower():
            return
        for of in self.all.values():
            if of.target == target.lower() and of.status == "InProgress":
                raise ArmError(
                    429,
                    "AnotherOperationInProgress",
                    "Another operation on this or dependent resource is in progress. To retrieve "
                    f"status of the operation use uri: {self.arm.url}{of.path}/operations/{of.name}"
                    "?api-version=2026-03-01.",
                )

    @implements(
        "operations.status", "GET", f"{_COMPUTE}/operations/{{operation}}", query=("p", "t")
    )
    @implements(
        "operations.status", "GET", f"{_NETWORK}/operations/{{operation}}", query=("p", "t")
    )
    @implements("operations.status", "GET", f"{_COMPUTE}/{_DISKS}/{{operation}}", query=("p", "t"))
    def status(self, call: Call) -> Any:
        """Answer what ``Azure-AsyncOperation`` leads to."""
        operation = self._find(call)
        answer: dict[str, Any] = {"status": operation.status}
        if call.provider != "Microsoft.Network":
            answer |= {"name": operation.name, "startTime": operation.started}
            if operation.ended:
                answer["endTime"] = operation.ended
        if operation.error:
            answer["error"] = operation.error.error()
        elif operation.result is not None:
            answer["properties"] = {"output": operation.result}
        return Answer(200, answer, self._retry_after(call.provider, operation))

    @implements(
        "operations.result", "GET", f"{_COMPUTE}/operationResults/{{operation}}", query=("p", "t")
    )
    @implements(
        "operations.result", "GET", f"{_NETWORK}/operationResults/{{operation}}", query=("p", "t")
    )
    @implements(
        "operations.result", "GET", f"{SUBSCRIPTION}/operationresults/{{operation}}", query=("t",)
    )
    def result(self, call: Call) -> Any:
        """Answer what ``Location`` leads to."""
        operation = self._find(call)
        if operation.status == "InProgress":
            return Answer(202, None, self._headers(call, operation, 202))
        if operation.error:
            raise operation.error
        return Answer(204 if operation.result is None else 200, operation.result)

    def _headers(self, call: Call, operation: Operation, status: int) -> dict[str, str]:
        signed = f"t={operation.signature}&api-version={call.api_version}"
        headers = dict(self._retry_after(call.provider, operation))
        if call.provider == "Microsoft.Resources":  # it has only this one
            path = f"/subscriptions/{call.subscription}/operationresults/{operation.name}"
            return {**headers, "Location": f"{self.arm.url}{path}?{signed}"}
        url = f"{self.arm.url}{operation.path}"
        headers["Azure-AsyncOperation"] = f"{url}/{operation.kind}/{operation.name}?{signed}"
        if status == 202:
            headers["Location"] = f"{url}/operationResults/{operation.name}?{signed}"
        return headers

    def _retry_after(self, provider: str, operation: Operation) -> Mapping[str, str]:
        if operation.status != "InProgress" or provider not in self.retry_after:
            return {}
        return {"Retry-After": str(self.retry_after[provider])}

    def _find(self, call: Call) -> Operation:
        operation = self.all.get(call.operation)
        if operation is None:
            text = f"The operation '{call.operation}' was not found."
            raise ArmError(404, "NotFound", text)
        if call.query.get("t") != operation.signature:
            raise ArmError(403, "InvalidOperationSignature", "The URL's signature is not valid.")
        return operation

    def _end(self, operation: Operation, status: str) -> None:
        operation.status = status
        operation.ended = self.arm.timeline.timestamp()
