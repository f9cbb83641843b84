"""Names, labels and descriptions that identify every resource of a session, for any process.

Labels are for filters: Google allows only ``[a-z0-9_-]`` in them, at most 63 characters, and
firewall rules have none. All else is JSON in the description, which all resources have, from
the request that creates them; it can't be changed later.
"""

from __future__ import annotations

import json
import re

from bigmachine.boot import Driver
from bigmachine.cloud import session_facts, session_label, session_resource_name

from ._option_formats import LABEL_PREFIX
from ._options import GcpOptions

SESSION = LABEL_PREFIX + "session"
"""The session's label: its name without the domain, as ``main-0123abcd``."""
REQUEST = LABEL_PREFIX + "request"
"""The token of the request that launched it, to find what a request without an answer launched."""

# Google documents no limit for instances; other descriptions of Compute Engine have 2,048
# characters. An escaped character of JSON takes six.
_MAX = {"host": 64, "user": 32, "command": 128}


def session_labels(session: str, o: GcpOptions) -> dict[str, str]:
    """Return the labels of a session's resources that can have some."""
    return {**o.own_labels, SESSION: session_label(session)}


def label_filter(**labels: str) -> str:
    """Return a list's filter (AIP-160): resources that have all these labels of bigmachine.

    ``label_filter(session="main-0123abcd")``; the value ``"*"`` is any value.
    """
    terms = (
        f"(labels.{LABEL_PREFIX}{key}:*)"
        if value == "*"
        else f'(labels.{LABEL_PREFIX}{key} = "{value}")'
        for key, value in labels.items()
    )
    return " ".join(terms)


def description(session: str, driver: Driver, o: GcpOptions) -> str:
    """Return the description of a session's resources, with the current time: `session_facts`."""
    return json.dumps(
        session_facts(
            session,
            driver,
            o,
            is_detailed=o.detailed_description,
            clean=lambda name, text: text[: _MAX[name]],
        )
    )


def parse_description(text: str) -> dict[str, str]:
    """Return what `description` wrote; empty if somebody else wrote it."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    session = fields.get("session") if isinstance(fields, dict) else None
    if not isinstance(session, str) or not session.isascii():
        return {}
    return {str(key): str(value) for key, value in fields.items()}


def session_of(name: str, description: str) -> str:
    """Return the full name of the session that a resource is of; "" if bigmachine did not make it.

    ``name`` must begin with the session's, so that a copied description does not count.
    """
    session = parse_description(description).get("session", "")
    prefix = session_resource_name(session) if session else ""
    return session if prefix and re.fullmatch(rf"{re.escape(prefix)}(-.*)?", name) else ""
