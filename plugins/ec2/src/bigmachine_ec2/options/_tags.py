"""The tags that identify every resource of a session, for any process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bigmachine.boot import Driver
from bigmachine.cloud import resource_details, session_facts

from ._options import TAG_PREFIX, Ec2Options

SESSION = TAG_PREFIX + "session"
"""The session's name."""
REQUEST = TAG_PREFIX + "request"
"""The token of the request that launched it, to find what a request without a response launched.

EC2's own client token does not serve: a fleet's instances have others.
"""
MACHINES = TAG_PREFIX + "machines"
"""Names of some machines, each with the end of its instance's id: ``m0=a1f m1=07c``.

One request launches many instances, all with the same tags, and EC2 has no permanent number for
each: launch indices repeat in a fleet. So the driver names instances after the launch, some dozens
with one tag. It does not read that tag itself; other processes do, and list an instance without
it by its id.
"""
DRIVER = TAG_PREFIX + "driver"
"""The driver, to find out whether it is alive."""
PORT = TAG_PREFIX + "port"
"""The port of its machines, if that is not the default."""
IMMORTAL = TAG_PREFIX + "immortal"
"""On resources that outlive their session, for debugging."""

MAX_VALUE = 256  # characters of a tag's value, by EC2's "Tag restrictions"
_NOT_ALLOWED = re.compile(r"[^\w\s+\-=.:/@]")
_SHORTEST_END = 3  # characters of an instance's id: mostly enough within one tag


def session_tags(session: str, driver: Driver, o: Ec2Options) -> dict[str, str]:
    """Return the tags of a session's resources, with the current time: see `session_facts`."""
    facts = session_facts(
        session, driver, o, is_detailed=o.detailed_tags, clean=lambda _, text: tag_value(text)
    )
    return {
        **o.own_tags,
        "Name": f"bigmachine {session.partition('.')[0]}",
        **{TAG_PREFIX + name: value for name, value in facts.items()},
    }


def tag_value(text: str) -> str:
    """Return a text as all of AWS accepts it in a tag, at most 256 characters.

    Allowed are "letters, numbers, spaces, and + - = . _ : / @" ("Tag naming limits and
    requirements"); EC2 takes others, but services that show its tags may not.
    """
    return " ".join(_NOT_ALLOWED.sub("_", text).split())[:MAX_VALUE]


def tag_specifications(tags: Mapping[str, str], *kinds: str) -> list[dict[str, Any]]:
    """Return ``tags`` as a create request takes them, for these resource types."""
    return [{"ResourceType": kind, "Tags": pairs(tags)} for kind in kinds]


def pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return ``tags`` as AWS takes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a resource that AWS described."""
    return {tag["Key"]: tag["Value"] for tag in raw.get("Tags", ())}


def details(tags: Mapping[str, str], *, kind: str, **more: str) -> dict[str, str]:
    """Return the details of an `Instance`, from a resource's tags."""
    return resource_details(tags, prefix=TAG_PREFIX, kind=kind, **more)


def filters(tags: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return a describe request's filters: resources with one of the values of each tag."""
    return [{"Name": f"tag:{key}", "Values": [*values]} for key, values in tags.items()]


def machines_tags(labels: Mapping[str, str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield which ids get which tag, so that each instance's label can be found by its id."""
    ids = [*labels]
    shortest = min(map(len, labels.values()), default=0) + len("=") + _SHORTEST_END + len(" ")
    while ids:
        count = min(len(ids), (MAX_VALUE + 1) // shortest)
        while len(text := _pairs(ids[:count], labels)) > MAX_VALUE:
            count -= 1
        yield ids[:count], {MACHINES: text}
        ids = ids[count:]


def label_of(raw: Mapping[str, Any]) -> str:
    """Return the label of an instance that AWS described: its id if it is not tagged."""
    id = str(raw["InstanceId"])
    pairs = (pair.partition("=") for pair in tags_of(raw).get(MACHINES, "").split())
    return next((label for label, _, end in pairs if end and id.endswith(end)), id)


def _pairs(ids: Sequence[str], labels: Mapping[str, str]) -> str:
    """Return the tag's value, with ends of the ids just long enough to differ."""
    end = _SHORTEST_END
    while len({id[-end:] for id in ids}) < len(ids):
        end += 1
    return " ".join(f"{labels[id]}={id[-end:]}" for id in ids)
