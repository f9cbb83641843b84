"""The tags by which all that is ours is known, whoever looks."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bigmachine.boot import Driver

from ._options import TAG_PREFIX

SESSION = TAG_PREFIX + "session"
"""The session's name."""
REQUEST = TAG_PREFIX + "request"
"""The token of the request that made it; what a request made whose answer was lost is found by it.

EC2's own client token is not enough: a fleet's instances have others.
"""
MACHINES = TAG_PREFIX + "machines"
"""Names of some machines, each with the end of its instance's id: ``m0=a1f m1=07c``.

One request makes many instances, which all get the same tags, and nothing that EC2 gives tells
them apart for good: launch indices repeat in a fleet, and ids don't tell their rank once some are
gone. So the driver names instances once it has them, some dozens of them by one tag. It does not
read that tag; it is for other processes, to which an instance is known by its id until then.
"""
DRIVER = TAG_PREFIX + "driver"
"""The driver, which thereby can be told to be alive or dead."""
HOST = TAG_PREFIX + "host"
"""The driver's computer."""
STARTED = TAG_PREFIX + "started"
"""When the session began to start machines, in UTC."""
IMMORTAL = TAG_PREFIX + "immortal"
"""On what outlives its session, for debugging."""

MOST_VALUE = 256  # characters of a tag's value, by EC2's "Tag restrictions"
_SHORTEST_END = 3  # characters of an instance's id that tell those under one tag apart, mostly


def session_tags(session: str, driver: Driver, more: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of all that a session makes, now."""
    now = datetime.datetime.now(datetime.UTC)
    label = session.partition(".")[0]
    return {
        **more,
        "Name": f"bigmachine {label}",
        SESSION: session,
        DRIVER: str(driver),
        HOST: driver.host[:MOST_VALUE],
        STARTED: now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def tag_specifications(tags: Mapping[str, str], *kinds: str) -> list[dict[str, Any]]:
    """Return ``tags`` as a create call takes them, for these kinds of resources."""
    return [{"ResourceType": kind, "Tags": pairs(tags)} for kind in kinds]


def pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return ``tags`` as AWS takes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a resource that AWS described."""
    return {tag["Key"]: tag["Value"] for tag in raw.get("Tags", ())}


def details(tags: Mapping[str, str], *, kind: str, **more: str) -> dict[str, str]:
    """Return the details of an `Instance` that core goes by, of something with these tags."""
    keys = {"session": SESSION, "driver": DRIVER, "host": HOST, "started": STARTED}
    return {"kind": kind, **{key: tags.get(tag, "") for key, tag in keys.items()}, **more}


def filters(tags: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return a describe call's filters for resources that have one of the values of each tag."""
    return [{"Name": f"tag:{key}", "Values": [*values]} for key, values in tags.items()]


def machines_tags(labels: Mapping[str, str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield the tags that tell each instance's label, by its id: which ids get which tag."""
    ids = [*labels]
    shortest = min(map(len, labels.values()), default=0) + len("=") + _SHORTEST_END + len(" ")
    while ids:
        count = min(len(ids), (MOST_VALUE + 1) // shortest)
        while len(told := _pairs(ids[:count], labels)) > MOST_VALUE:
            count -= 1
        yield ids[:count], {MACHINES: told}
        ids = ids[count:]


def label_of(raw: Mapping[str, Any]) -> str:
    """Return the label of an instance that AWS described: its id, if it has got no other."""
    id = str(raw["InstanceId"])
    pairs = (pair.partition("=") for pair in tags_of(raw).get(MACHINES, "").split())
    return next((label for label, _, end in pairs if end and id.endswith(end)), id)


def _pairs(ids: Sequence[str], labels: Mapping[str, str]) -> str:
    """Name the instances, by ends of their ids that are just long enough to differ."""
    end = _SHORTEST_END
    while len({id[-end:] for id in ids}) < len(ids):
        end += 1
    return " ".join(f"{labels[id]}={id[-end:]}" for id in ids)
