"""Values checked against a schema, so that tests send no request that a provider would refuse.

This knows no cloud. A cloud's emulation makes a `Schema` of its provider's model (botocore's
service models, Google's discovery documents, Azure's models), checks each request that reaches it
by `refusals`, and adds what it finds to `REFUSED`, whichever process sent the request. The root
``conftest.py`` fails a test that leaves anything there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

REFUSED: list[str] = []
"""Why providers would have refused requests that were sent so far."""


_TYPES: dict[str, type | tuple[type, ...]] = {
    "array": (list, tuple),
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "object": Mapping,
    "string": str,
}
_FORMATS = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
"""The least and the most of a number; of 64 bits, it is a string of digits in JSON."""


@dataclass(frozen=True)
class Schema:
    """What a value may be, in the words of JSON Schema; None and empty are no limits.

    Other schemas are named by functions, because a schema may contain itself. An object with
    ``properties`` has no other ones; ``additional`` is the schema of a map's values,
    and ``keys`` that of its keys.
    """

    type: str = ""
    """``string``, ``integer``, ``number``, ``boolean``, ``array`` or ``object``."""
    format: str = ""
    """One of `_FORMATS`, or one that limits nothing here."""
    properties: Callable[[], Mapping[str, Schema]] | None = None
    required: Sequence[str] = ()
    additional: Callable[[], Schema] | None = None
    keys: Schema | None = None
    max_properties: float | None = None
    items: Callable[[], Schema] | None = None
    enum: Sequence[str] = ()
    pattern: str = ""
    minimum: float | None = None
    maximum: float | None = None
    min_length: float | None = None
    max_length: float | None = None
    min_items: float | None = None
    max_items: float | None = None
    refused: str = ""
    """Why no value at all may be here, as "is only in answers"."""


def refusals(schema: Schema, value: Any, path: str) -> Iterator[str]:
    """Yield what is wrong with ``value``: its path, the value, and the limit."""
    if schema.refused:
        yield f"{path}: {_short(value)}: {schema.refused}"
        return
    if not _is_of_type(schema.type, value):
        yield f"{path}: {_short(value)}: must be of type {schema.type}"
        return
    for problem in _problems(schema, value):
        yield f"{path}: {_short(value)}: {problem}"
    if isinstance(value, Mapping):
        yield from _of_object(schema, value, path)
    elif isinstance(value, (list, tuple)) and schema.items is not None:
        of_items = schema.items()
        for index, item in enumerate(value):
            yield from refusals(of_items, item, f"{path}[{index}]")


def check_refused() -> None:
    """Fail if there are `REFUSED` requests, and forget them."""
    refused, REFUSED[:] = [*REFUSED], []
    if refused:
        raise AssertionError("the provider refuses:\n" + "\n".join(refused))


def _is_of_type(name: str, value: Any) -> bool:
    if name not in _TYPES:
        return True
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, _TYPES[name]) and is_number == (name in ("integer", "number"))


def _problems(schema: Schema, value: Any) -> Iterator[str]:
    if schema.format in _FORMATS:
        if isinstance(value, str) and not re.fullmatch(r"-?\d+", value, re.ASCII):
            yield f"must be a number ({schema.format})"
            return
        yield from _outside(int(value), *_FORMATS[schema.format], "")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _outside(value, schema.minimum, schema.maximum, "")
    elif isinstance(value, (str, bytes)):
        yield from _outside(len(value), schema.min_length, schema.max_length, " characters")
    elif isinstance(value, (list, tuple)):
        yield from _outside(len(value), schema.min_items, schema.max_items, " items")
    elif isinstance(value, Mapping):
        yield from _outside(len(value), None, schema.max_properties, " entries")
    if isinstance(value, str):
        if schema.enum and value not in schema.enum:
            yield f"must be one of {_short(schema.enum)}"
        if schema.pattern and not re.fullmatch(schema.pattern, value, re.DOTALL):
            yield f"must match {schema.pattern}"


def _outside(number: float, least: float | None, most: float | None, unit: str) -> Iterator[str]:
    if least is not None and number < least:
        yield f"{number:g}{unit}, and the least is {least:g}"
    if most is not None and number > most:
        yield f"{number:g}{unit}, and the most is {most:g}"


def _of_object(schema: Schema, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in schema.required:
        if name not in value:
            yield f"{path}.{name}: is required"
    properties = schema.properties() if schema.properties else None
    for name, item in value.items():
        if properties is not None and name in properties:
            yield from refusals(properties[name], item, f"{path}.{name}")
        elif schema.additional is not None:
            if schema.keys is not None:
                yield from refusals(schema.keys, name, f"{path}: key")
            yield from refusals(schema.additional(), item, f"{path}[{name!r}]")
        elif properties is not None:
            yield f"{path}.{name}: is unknown"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
