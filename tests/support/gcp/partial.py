"""Partial answers: what the parameter ``fields`` selects ("Working with partial resources")."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.gcp.errors import GceError

Mask = dict[str, "Mask"]
"""The selected fields, by name; of an empty mask, all is selected. ``*`` is any name."""


def select(answer: Any, fields: str) -> Any:
    """Return the part of an answer that ``fields`` selects; "" is all."""
    if not fields:
        return answer
    tokens = iter([*re.findall(r"[\w*]+|[,()/]", fields), ""])
    try:
        mask = _parse(tokens, "")
    except StopIteration:
        raise GceError(400, "invalidParameter", f"Invalid field selection {fields}") from None
    return _part(answer, mask)


def _parse(tokens: Iterator[str], end: str) -> Mask:
    mask: Mask = {}
    token = ","
    while token == ",":
        inner = mask.setdefault(next(tokens), {})
        token = next(tokens)
        while token == "/":
            inner = inner.setdefault(next(tokens), {})
            token = next(tokens)
        if token == "(":
            inner.update(_parse(tokens, ")"))
            token = next(tokens)
    if token != end:
        raise StopIteration
    return mask


def _part(value: Any, mask: Mask) -> Any:
    if not mask:
        return value
    if isinstance(value, list):
        return [_part(item, mask) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: _part(item, mask[key] if key in mask else mask["*"])
        for key, item in value.items()
        if key in mask or "*" in mask
    }
