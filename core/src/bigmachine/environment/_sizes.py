"""Sizes, as people read them."""

from __future__ import annotations

_STEP = 1024


def size_text(size_bytes: int) -> str:
    """Return a number of bytes as text: ``"812 B"``, ``"4.2 MiB"``."""
    if size_bytes < _STEP:
        return f"{size_bytes} B"
    size, units = size_bytes / _STEP, ["KiB", "MiB", "GiB"]
    while size >= _STEP and len(units) > 1:
        size /= _STEP
        del units[0]
    return f"{size:.1f} {units[0]}"
