"""How the environment that was built differs from the one that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_LINES = 12


def difference(asked: Mapping[str, Any], built: Mapping[str, Any]) -> str:  # Any: this is JSON
    """Return the differences of two manifests' ``content``, a line each; empty if there are none.

    Only the first lines are given, and how many more there are.
    """
    lines = [*_lines(asked, built)]
    more = len(lines) - _LINES
    if more > 0:
        lines[_LINES:] = [f"… and {more} more"]
    return "\n".join(lines)


def _lines(asked: Mapping[str, Any], built: Mapping[str, Any]) -> Iterator[str]:
    if asked.get("python") != built.get("python"):
        yield f"Python: asked for {asked.get('python')}, built {built.get('python')}"
    for name, wanted, got in _pairs(asked, built, "distributions"):
        if got is None:
            yield f"{name} {wanted}: missing"
        elif wanted is None:
            yield f"{name} {got}: not asked for"
        else:
            yield f"{name}: asked for {wanted}, built {got}"
    for path, wanted, got in _pairs(asked, built, "files"):
        # The number before a path is its folder's place on the import path.
        place, _, file = path.partition("/")
        what = (
            "missing" if got is None else "not asked for" if wanted is None else "another content"
        )
        yield f"{file} (folder {place}): {what}"


def _pairs(
    asked: Mapping[str, Any], built: Mapping[str, Any], part: str
) -> Iterator[tuple[str, str | None, str | None]]:
    one, other = asked.get(part, {}), built.get(part, {})
    for key in sorted({*one, *other}):
        if one.get(key) != other.get(key):
            yield key, one.get(key), other.get(key)
