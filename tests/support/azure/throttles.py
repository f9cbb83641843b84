"""How fast Azure may be asked: buckets of requests, which are filled again all the time.

The numbers are those of "Understand how Azure Resource Manager throttles requests", for each
principal, and of "Virtual machine API throttling limits", for the subscription and each resource.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.azure.calls import Call
from tests.support.azure.errors import ArmError

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm


@dataclass
class Bucket:
    """What is left of a number of requests."""

    size: float
    per_second: float
    left: float
    at: float

    def take(self, now: float) -> float:
        """Take one request; return how many seconds to wait first, if there is none."""
        self.left = min(self.size, self.left + (now - self.at) * self.per_second)
        self.at = now
        if self.left < 1:
            return (1 - self.left) / self.per_second
        self.left -= 1
        return 0.0


_OF_PRINCIPAL = {"reads": (250.0, 25.0), "writes": (200.0, 10.0), "deletes": (200.0, 10.0)}
_OF_COMPUTE = {
    # operations, by the policy that limits them: for the subscription, and for each resource
    "virtual_machines.create_or_update": ("PutVM", (1500.0, 500 / 60), (12.0, 4 / 60)),
    "virtual_machines.delete": ("DeleteVM", (1500.0, 500 / 60), (12.0, 4 / 60)),
    "virtual_machines.get": ("GetVM", (10_000.0, 3_000 / 60), (36.0, 12 / 60)),
    "virtual_machines.instance_view": ("GetVM", (10_000.0, 3_000 / 60), (36.0, 12 / 60)),
    "virtual_machines.list": ("ListVM", (900.0, 300 / 60), None),
    "virtual_machines.list_all": ("ListVM", (900.0, 300 / 60), None),
    "operations.status": ("GetOperation", (15_000.0, 5_000 / 60), (45.0, 15 / 60)),
}


@dataclass
class Throttles:
    """All buckets; a test may make `of_principal` small."""

    arm: Arm
    is_enforced: bool = True
    at_random: float = 0.0
    """How probable it is that a request is throttled for others' sake, for tests of faults."""
    of_principal: dict[str, tuple[float, float]] = field(
        default_factory=lambda: dict(_OF_PRINCIPAL)
    )
    """How many reads, writes and deletes a principal has at once, and again each second."""
    _buckets: dict[tuple[str, str], Bucket] = field(default_factory=dict)

    def take(self, call: Call) -> Mapping[str, str]:
        """Count a call; return headers that say what is left. Raises what a throttled one gets."""
        kind = {"GET": "reads", "DELETE": "deletes"}.get(call.verb, "writes")
        wait = self._take(kind, call.user.id, self.of_principal[kind])
        scope = "subscription" if call.subscription else "tenant"
        headers = {f"x-ms-ratelimit-remaining-{scope}-{kind}": self._left(kind, call.user.id)}
        if wait or (self.at_random and self.arm.chance.of("a throttled request", self.at_random)):
            raise _throttled(call, math.ceil(wait), headers)
        if call.method in _OF_COMPUTE and call.provider == "Microsoft.Compute":
            headers["x-ms-ratelimit-remaining-resource"] = self._take_compute(call)
        return headers

    def _take_compute(self, call: Call) -> str:
        policy, of_subscription, of_resource = _OF_COMPUTE[call.method]
        counted = [(f"{policy}SubscriptionMaximum", call.subscription.lower(), of_subscription)]
        if of_resource:
            counted.append((f"{policy}Resource", call.path.lower(), of_resource))
        waits = {name: self._take(name, whose, limit) for name, whose, limit in counted}
        for name, wait in waits.items():
            if wait:
                text = (
                    "The server rejected the request because too many requests have been received "
                    "for this subscription."
                )
                details = [{"code": "TooManyRequests", "target": name, "message": text}]
                raise ArmError(
                    429,
                    "OperationNotAllowed",
                    text,
                    details=details,
                    headers={"Retry-After": str(math.ceil(wait))},
                )
        return ",".join(
            f"Microsoft.Compute/{name};{self._left(name, whose)}" for name, whose, _ in counted
        )

    def _take(self, name: str, whose: str, limit: tuple[float, float]) -> float:
        now = self.arm.timeline.now()
        size, per_second = limit
        bucket = self._buckets.setdefault((name, whose), Bucket(size, per_second, size, now))
        return bucket.take(now) if self.is_enforced else 0.0

    def _left(self, name: str, whose: str) -> str:
        return str(int(self._buckets[name, whose].left))


def _throttled(call: Call, seconds: int, headers: Mapping[str, str]) -> ArmError:
    """Return Resource Manager's own answer, as in MicrosoftDocs/azure-docs#105248."""
    operation = f"{call.verb}{call.path.upper()}"
    return ArmError(
        429,
        "SubscriptionRequestsThrottled",
        f"Number of requests for subscription '{call.subscription}' and operation '{operation}' "
        f"exceeded the backend storage limit. Please try again after '{seconds}' seconds.",
        headers={**headers, "Retry-After": str(seconds)},
    )
