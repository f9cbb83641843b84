"""The full names of sessions and machines: ``main-0123abcd.bigmachine``, ``m3.main-0123…``."""

from __future__ import annotations

SESSION_SUFFIX = ".bigmachine"
"""The end of every session's name, which people leave out."""


def session_name(label: str) -> str:
    """Return the full name of a session, with or without the suffix that people leave out."""
    return label if label.endswith(SESSION_SUFFIX) else label + SESSION_SUFFIX


def short_name(name: str) -> str:
    """Return how a full name begins: ``m3`` of a machine's, ``main-0123abcd`` of a session's."""
    return name.partition(".")[0]
