"""A part of error messages: the first of many names."""

from __future__ import annotations

from collections.abc import Sequence


def first_of(names: Sequence[str], *, most: int, separator: str = ", ") -> str:
    """Return the first ``most`` names, and how many more there are: ``"a, b and 3 more"``."""
    text = separator.join(names[:most])
    more = len(names) - most
    return f"{text} and {more} more" if more > 0 else text
