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


@dataclass(frozen=True)
class Schema:
    """What a value may be, in the words of JSON Schema; None and empty are no limits.

    Other schemas are named by functions, because a schema may contain itself. An object with
    ``properties`` has no other ones; ``additional`` is the schema of a map's values.
    """

    properties: Callable[[], Mapping[str, Schema]] | None = None
    required: Sequence[str] = ()
    additional: Callable[[], Schema] | None = None
    items: Callable[[], Schema] | None = None
    enum: Sequence[str] = ()
    pattern: str = ""
    minimum: float | None = None
    maximum: float | None = None
    min_length: float | None = None
    max_length: float | None = None
    min_items: float | None = None
    max_items: float | None = None


def refusals(schema: Schema, value: Any, path: str) -> Iterator[str]:
    """Yield what is wrong with ``value``: its path, the value, and the limit."""
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


def _problems(schema: Schema, value: Any) -> Iterator[str]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _outside(value, schema.minimum, schema.maximum, "")
    elif isinstance(value, (str, bytes)):
        yield from _outside(len(value), schema.min_length, schema.max_length, " characters")
    elif isinstance(value, (list, tuple)):
        yield from _outside(len(value), schema.min_items, schema.max_items, " items")
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
            yield from refusals(schema.additional(), item, f"{path}[{name!r}]")
        elif properties is not None:
            yield f"{path}.{name}: is unknown"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
