"""Names of a session's resources, on clouds that identify a resource by its name."""

from __future__ import annotations

import hashlib

from ..._full_names import SESSION_SUFFIX, short_name

NAME_PREFIX = "bm-"
"""What the names of all resources begin with."""
_MAX_NAME = 63  # of Google's names; Azure's VMs have 64


def session_label(session: str) -> str:
    """Return the label of a session's name: ``main-0123abcd`` of ``main-0123abcd.bigmachine``.

    That of a name in another domain ends with a hash, so no two sessions have the same label.
    """
    label = session.removesuffix(SESSION_SUFFIX)
    if "." not in label:
        return label
    return f"{short_name(label)}-{hashlib.sha256(session.encode()).hexdigest()[:8]}"


def session_resource_name(session: str) -> str:
    """Return the name of what a session has once, such as its firewall: ``bm-SESSION``."""
    return _name(session_label(session), "")


def vm_name(session: str, machine: str) -> str:
    """Return the name of a machine's VM: ``bm-SESSION-mN``. Both names may be full ones."""
    return _name(session_label(session), "-" + short_name(machine))


def _name(session: str, end: str) -> str:
    """Return a name of at most 63 characters; a session's label has at most 33."""
    return NAME_PREFIX + session[-(_MAX_NAME - len(NAME_PREFIX) - len(end)) :] + end
