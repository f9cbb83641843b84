"""How the environment that was built differs from the one that was requested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_MAX_LINES = 12


def difference(requested: Mapping[str, Any], built: Mapping[str, Any]) -> str:  # Any: JSON
    """Compare the ``content`` of two manifests; return one line per difference, or ``""``.

    Only the first lines are returned, and how many more there are.
    """
    lines = [*_lines(requested, built)]
    more = len(lines) - _MAX_LINES
    if more > 0:
        lines[_MAX_LINES:] = [f"… and {more} more"]
    return "\n".join(lines)


def _lines(requested: Mapping[str, Any], built: Mapping[str, Any]) -> Iterator[str]:
    if requested.get("python") != built.get("python"):
        yield f"Python: requested {requested.get('python')}, built {built.get('python')}"
    for name, wanted, got in _pairs(requested, built, "distributions"):
        if got is None:
            yield f"{name} {wanted}: missing"
        elif wanted is None:
            yield f"{name} {got}: not requested"
        else:
            yield f"{name}: requested {wanted}, built {got}"
    for path, wanted, got in _pairs(requested, built, "files"):
        # The number before a path is the position of its folder on the import path.
        position, _, file = path.partition("/")
        problem = (
            "missing" if got is None else "not requested" if wanted is None else "other content"
        )
        yield f"{file} (folder {position}): {problem}"


def _pairs(
    requested: Mapping[str, Any], built: Mapping[str, Any], part: str
) -> Iterator[tuple[str, str | None, str | None]]:
    one, other = requested.get(part, {}), built.get(part, {})
    for key in sorted({*one, *other}):
        if one.get(key) != other.get(key):
            yield key, one.get(key), other.get(key)
