"""AWS's eventual consistency: for a while, some requests don't find what was just made.

"If you run a command to retrieve information about the resource that you just created, or to
modify it, the change might not be visible to all subsequent commands" ("Eventual consistency" of
the EC2 API). A security group was seen by DescribeSecurityGroups, and RunInstances then answered
InvalidGroup.NotFound (issues 1322 and 3627 of hashicorp/packer): each request is answered by any
of many computers. So it is here, at random, from a seed.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

SEED = "BIGMACHINE_TEST_SEED"
"""The variable that sets the seed; a test that fails shows which one it had."""

_GIVEN = os.environ.get(SEED)  # now: tests have none of our variables
_CHANCE = 0.3  # that a request is answered by a computer that does not know what is new
_LONGEST = 4  # how many of the requests that need a resource may be such ones

_MAKES = {
    "CreateFleet": "instances",
    "CreateLaunchTemplate": "templates",
    "CreateSecurityGroup": "groups",
    "RunInstances": "instances",
}
_NEEDS = {
    "AuthorizeSecurityGroupIngress": ("groups",),
    "CreateFleet": ("groups", "templates"),
    "CreateTags": ("instances",),
    "DeleteLaunchTemplate": ("templates",),
    "DeleteSecurityGroup": ("groups",),
    "DescribeInstances": ("instances",),
    "DescribeLaunchTemplates": ("templates",),
    "DescribeSecurityGroups": ("groups",),
    "GetConsoleOutput": ("instances",),
    "RunInstances": ("groups",),
    "TerminateInstances": ("instances",),
}


@dataclass
class Replicas:
    """Which requests don't find what is new; by default some of the first four that need it."""

    seed: str = field(default_factory=lambda: _GIVEN or secrets.token_hex(4))
    chance: float = _CHANCE
    _young: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    _misses: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        print(f"{SEED}={self.seed}")  # pytest shows it if the test fails
        self._random = random.Random(self.seed)

    def miss(self, kind: str, *, times: int) -> None:
        """Have so many requests find nothing of this kind, as soon as there is some; and no other.

        The kinds are ``"groups"``, ``"instances"`` and ``"templates"``.
        """
        self.chance = 0.0
        self._misses[kind] = times

    @contextlib.contextmanager
    def answering(self, ec2: Any, action: str) -> Iterator[bool]:
        """Hide new resources from moto's state while it answers a request, or only their tags.

        Give whether some are hidden by chance.
        """
        is_behind = False
        made = _MAKES.get(action)
        before = _ids(ec2, made) if made else set()
        with contextlib.ExitStack() as stack:
            for kind in _NEEDS.get(action, ()):
                if ids := self._missed(ec2, kind):
                    has_tags = (
                        kind == "instances" and not self._misses and self._random.random() < 0.5
                    )
                    stack.enter_context(
                        _without_tags(ec2, ids) if has_tags else _without(ec2, kind, ids)
                    )
                    is_behind = self.chance > 0
            yield is_behind
        if made:
            self._young[made].update(dict.fromkeys(_ids(ec2, made) - before, _LONGEST))

    def _missed(self, ec2: Any, kind: str) -> set[str]:
        """Return what a request does not find of a kind that it needs."""
        if self._misses.get(kind) and (ids := _ids(ec2, kind)):
            self._misses[kind] -= 1
            return ids
        young = {*self._young[kind]}
        for id in young:
            self._young[kind][id] -= 1
            if not self._young[kind][id]:
                del self._young[kind][id]
        return young if young and self._random.random() < self.chance else set()


def _ids(ec2: Any, kind: str) -> set[str]:
    if kind == "instances":
        return {vm.id for reservation in ec2.reservations.values() for vm in reservation.instances}
    if kind == "groups":
        return {
            id for of_vpc in ec2.groups.values() for id, g in of_vpc.items() if not g.is_default
        }
    return {*ec2.launch_templates}


@contextlib.contextmanager
def _without(ec2: Any, kind: str, ids: set[str]) -> Iterator[None]:
    if kind == "instances":
        holders = [reservation.instances for reservation in ec2.reservations.values()]
        kept = [[*instances] for instances in holders]
        for instances in holders:
            instances[:] = [vm for vm in instances if vm.id not in ids]
        yield
        for instances, before in zip(holders, kept, strict=True):
            instances[:] = before
        return
    holders = [*ec2.groups.values()] if kind == "groups" else [ec2.launch_templates]
    hidden = [{id: holder.pop(id) for id in ids if id in holder} for holder in holders]
    yield
    for holder, some in zip(holders, hidden, strict=True):
        holder.update(some)


@contextlib.contextmanager
def _without_tags(ec2: Any, ids: set[str]) -> Iterator[None]:
    hidden = {id: ec2.tags.pop(id) for id in ids if id in ec2.tags}
    yield
    for id, tags in hidden.items():
        ec2.tags[id] = {**tags, **ec2.tags.get(id, {})}
