"""What a role permits, by "Understand Azure role definitions"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

AUTHORIZATION_VERSION = "2022-04-01"
"""The API version of role definitions and assignments, and of permissions."""


def grants(permissions: Iterable[Mapping[str, Any]], action: str) -> bool:
    """Whether one of the permissions includes an action: in `actions`, and not in `notActions`."""
    return any(
        _matches(each.get("actions"), action) and not _matches(each.get("notActions"), action)
        for each in permissions
    )


def _matches(patterns: Iterable[str] | None, action: str) -> bool:
    """Whether one of the patterns is of an action: ``*`` stands for any text, also with slashes."""
    return any(
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), action, re.I)
        for pattern in patterns or ()
    )
