"""The tags by which all that is ours is known, whoever looks."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from ._options import TAG_PREFIX

SESSION = TAG_PREFIX + "session"
"""The session's name."""
MACHINES = TAG_PREFIX + "machines"
"""Names of the machines of one request, in the order of their launch index, without the session.

One request makes many instances, which all get the same tags; with the launch index, which EC2
counts from 0 in each request, each one's name is known to any process from the first moment.
"""
HOST = TAG_PREFIX + "host"
"""The driver's computer."""
STARTED = TAG_PREFIX + "started"
"""When the session began to start machines, in UTC."""
IMMORTAL = TAG_PREFIX + "immortal"
"""On what outlives its session, for debugging."""

MOST_VALUE = 256  # characters of a tag's value, by EC2's "Tag restrictions"


def session_tags(session: str, more: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of all that a session makes, now."""
    now = datetime.datetime.now(datetime.UTC)
    label = session.partition(".")[0]
    return {
        **more,
        "Name": f"bigmachine {label}",
        SESSION: session,
        HOST: socket.gethostname()[:MOST_VALUE],
        STARTED: now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def tag_specifications(tags: Mapping[str, str], *kinds: str) -> list[dict[str, Any]]:
    """Return ``tags`` as a create call takes them, for these kinds of resources."""
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    return [{"ResourceType": kind, "Tags": pairs} for kind in kinds]


def tags_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a resource that AWS described."""
    return {tag["Key"]: tag["Value"] for tag in raw.get("Tags", ())}


def filters(tags: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return a describe call's filters for resources that have one of the values of each tag."""
    return [{"Name": f"tag:{key}", "Values": [*values]} for key, values in tags.items()]
