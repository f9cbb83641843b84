"""Names of a session's resources: those of `bigmachine.cloud`, without the words that Azure bans.

No name may contain "microsoft" or "windows" ("Resolve reserved resource name errors"), and a
session is named after its computer by default.
"""

from __future__ import annotations

import re

from bigmachine import cloud

_WORDS = {"microsoft": "micros0ft", "windows": "wind0ws"}
_PART = re.compile(r"bm-(?P<label>.+-[0-9a-f]{8})-m\d+([-_].*)?")


def session_resource_name(session: str) -> str:
    """Return the name of what a session has once, its security group: ``bm-SESSION``."""
    return _allowed(cloud.session_resource_name(session))


def vm_name(session: str, machine: str) -> str:
    """Return the name of a machine's VM: ``bm-SESSION-mN``. Both names may be full ones."""
    return _allowed(cloud.vm_name(session, machine))


def session_of_part(name: str) -> str:
    """Return the session of a VM's part, as ``bm-SESSION-m3_OsDisk_1_…``; "" if it is none."""
    found = _PART.fullmatch(name.lower())
    if not found:
        return ""
    label = found["label"]
    for word, allowed in _WORDS.items():
        label = label.replace(allowed, word)
    return cloud.session_name(label)


def _allowed(name: str) -> str:
    for word, allowed in _WORDS.items():
        name = name.replace(word, allowed)
    return name
