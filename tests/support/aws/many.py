"""EC2 with thousands of instances: moto takes time by the square of them, so here it is not asked.

It has what the API references of these four actions say of them, as far as they are used:
CreateFleet, CreateTags, DescribeInstances (filters, and pages of ``MaxResults`` instances), and
TerminateInstances.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.aws.aws import Aws
    from tests.support.aws.wire import Parameters


@dataclass
class Many:
    """Instances of any number, by id: their tags. ``longest`` is how many one page had."""

    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    terminated: set[str] = field(default_factory=set)
    longest: int = 0

    def serve(self, aws: Aws) -> None:
        """Answer in moto's place from now on."""
        for action, answer in (
            ("CreateFleet", self._create_fleet),
            ("CreateTags", self._create_tags),
            ("DescribeInstances", self._describe),
            ("TerminateInstances", self._terminate),
        ):
            aws.answer(action, answer)

    def _create_fleet(self, parameters: Parameters) -> bytes:
        count = int(parameters["TargetCapacitySpecification.TotalTargetCapacity"])
        ids = [f"i-{secrets.token_hex(9)[1:]}" for _ in range(count)]
        [of_instances] = [key for key, kind in parameters.items() if kind == "instance"]
        tags = dict(_tags(parameters, of_instances.removesuffix("ResourceType")))
        self.tags.update({id: {**tags} for id in ids})
        items = "".join(f"<item>{id}</item>" for id in ids)
        return _answer(
            "CreateFleet",
            f"<fleetId>fleet-1</fleetId><errorSet/><fleetInstanceSet><item><instanceIds>{items}"
            "</instanceIds></item></fleetInstanceSet>",
        )

    def _create_tags(self, parameters: Parameters) -> bytes:
        for id in _values(parameters, "ResourceId."):
            self.tags[id].update(_tags(parameters, ""))
        return _answer("CreateTags", "<return>true</return>")

    def _terminate(self, parameters: Parameters) -> bytes:
        self.terminated.update(_values(parameters, "InstanceId."))
        return _answer("TerminateInstances", "<instancesSet/>")

    def _describe(self, parameters: Parameters) -> bytes:
        filters = [
            (name, {*_values(parameters, key.removesuffix("Name") + "Value.")})
            for key, name in parameters.items()
            if re.fullmatch(r"Filter\.\d+\.Name", key)
        ]
        found = [
            id for id in self.tags if all(self._of(id, name) & values for name, values in filters)
        ]
        first, most = int(parameters.get("NextToken") or 0), int(parameters["MaxResults"])
        page = found[first : first + most]
        self.longest = max(self.longest, len(page))
        rest = f"<nextToken>{first + most}</nextToken>" if found[first + most :] else ""
        instances = "".join(map(self._instance, page))
        return _answer(
            "DescribeInstances",
            f"<reservationSet><item><instancesSet>{instances}</instancesSet></item>"
            f"</reservationSet>{rest}",
        )

    def _of(self, id: str, name: str) -> set[str]:
        """Return the values that an instance has for a filter."""
        tags = self.tags[id]
        if name == "tag-key":
            return {*tags}
        own = {"instance-id": id, "instance-state-name": self._state(id)}
        return {own.get(name) or tags.get(name.removeprefix("tag:"), "")}

    def _state(self, id: str) -> str:
        return "terminated" if id in self.terminated else "running"

    def _instance(self, id: str) -> str:
        tags = "".join(
            f"<item><key>{key}</key><value>{value}</value></item>"
            for key, value in self.tags[id].items()
        )
        return (
            f"<item><instanceId>{id}</instanceId><dnsName>{id}.amazonaws.com</dnsName>"
            f"<instanceState><name>{self._state(id)}</name></instanceState>"
            f"<tagSet>{tags}</tagSet></item>"
        )


def _values(parameters: Parameters, prefix: str) -> Iterator[str]:
    return (value for key, value in parameters.items() if re.fullmatch(rf"{prefix}\d+", key))


def _tags(parameters: Parameters, prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in parameters.items():
        if re.fullmatch(rf"{prefix}Tag\.\d+\.Key", key):
            yield value, parameters[key.removesuffix("Key") + "Value"]


def _answer(action: str, content: str) -> bytes:
    return (
        f'<{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">{content}'
        f"</{action}Response>"
    ).encode()
