"""Parts of messages: the first of many names, and names with odd characters."""

from __future__ import annotations

from collections.abc import Sequence


def first_of(names: Sequence[str], *, most: int, separator: str = ", ") -> str:
    """Return the first ``most`` names, and how many more there are: ``"a, b and 3 more"``."""
    text = separator.join(names[:most])
    more = len(names) - most
    return f"{text} and {more} more" if more > 0 else text


def printable(text: str) -> str:
    """Return ``text`` in one line that can be printed: control characters are escaped.

    So are the bytes of a file's name that are not UTF-8.
    """
    return text if text.isprintable() else repr(text)[1:-1]
