"""Convert the value of an option to its annotated type, and name this type for people."""

from __future__ import annotations

import contextlib
import enum
import math
import numbers
import os
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from .._switches import is_switched_on

_UNIONS = (typing.Union, types.UnionType)
_LISTS = (tuple, list, Sequence)
_NUMBERS = {int: numbers.Integral, float: numbers.Real}  # NumPy's numbers are these, too
# A list as Python, JSON and TOML write it; [::1], an address, is none.
_BRACKETED = re.compile(r"""\s*[\[(][^\[\]()]*[,'"][^\[\]()]*[\])]\s*""")


def convert(value: Any, kind: Any, *, is_text: bool) -> object:  # Any: checked here
    """Return ``value`` as an object of the annotation ``kind``; `ValueError` if it is none.

    If ``is_text``, the value is a string to parse.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_text and is_list(kind) and _BRACKETED.fullmatch(str(value)):
        raise ValueError(value)
    if origin in _UNIONS:
        if types.NoneType in arguments and (value is None or (is_text and value in ("", "none"))):
            return None
        for member in arguments:
            with contextlib.suppress(ValueError):
                return convert(value, member, is_text=is_text)
    elif origin in _LISTS:
        if is_text:
            value = [item.strip() for item in str(value).split(",") if item.strip()]
        if isinstance(value, Sequence) and not isinstance(value, str):
            items = [convert(item, arguments[0], is_text=is_text) for item in value]
            return items if origin is list else tuple(items)
    elif choices := _choices(kind):
        for written, choice in choices.items():
            if value in (written, choice) or (is_text and value == str(written)):
                return choice
    elif not isinstance(kind, type):  # an annotation that cannot be checked
        return value
    elif is_text and kind is bool:
        if (is_on := is_switched_on(str(value))) is not None:
            return is_on
    elif is_text and kind is Path:
        return Path(os.path.expanduser(value))
    elif is_text:
        if kind in (int, float, str):
            return _finite(kind(value))
    elif kind in _NUMBERS:
        if isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool):
            return _finite(kind(value))
    elif isinstance(value, kind):
        return value
    elif kind is Path and isinstance(value, str):
        return Path(os.path.expanduser(value))
    raise ValueError(value)


def _finite(value: Any) -> object:  # Any: of a type that was checked
    """Return ``value``; `ValueError` for NaN and infinities, which no comparison would refuse."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(value)
    return value


def is_written_as_text(kind: Any) -> bool:  # Any: an annotation
    """Whether `convert` can parse texts for the annotation ``kind``."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in _UNIONS:
        return all(member is types.NoneType or is_written_as_text(member) for member in arguments)
    if origin in _LISTS:
        return bool(arguments) and is_written_as_text(arguments[0])
    return bool(_choices(kind)) or kind in (bool, int, float, str, Path)


def is_list(kind: Any) -> bool:  # Any: an annotation
    """Whether lists are values of the annotation ``kind``."""
    if typing.get_origin(kind) in _UNIONS:
        return any(map(is_list, typing.get_args(kind)))
    return typing.get_origin(kind) in _LISTS


def list_example(kind: Any) -> list[object]:  # Any: an annotation
    """Return two items that a list of the annotation ``kind`` may have."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) in _UNIONS:
        return list_example(next(filter(is_list, arguments)))
    return [1, 2] if arguments[0] in _NUMBERS else [*_choices(arguments[0]), "a", "b"][:2]


def written_choices(kind: Any) -> list[str]:  # Any: an annotation
    """Return the values that users can choose from, of a `Literal` or an enum."""
    if typing.get_origin(kind) in _UNIONS:
        return [choice for each in typing.get_args(kind) for choice in written_choices(each)]
    return [*map(str, _choices(kind))]


def type_name(kind: Any) -> str:  # Any: an annotation
    """Return the annotation ``kind`` in words: ``"list of str"``, ``"int or None"``."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in _UNIONS:
        return " or ".join(map(type_name, arguments))
    if origin in _LISTS:
        return f"list of {type_name(arguments[0])}"
    if choices := _choices(kind):
        return " or ".join(map(repr, choices))
    if kind is types.NoneType:
        return "None"
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _choices(kind: Any) -> dict[object, object]:
    """Return the values of a `Literal` or an enum by their written form; else nothing."""
    if typing.get_origin(kind) is typing.Literal:
        return {choice: choice for choice in typing.get_args(kind)}
    if isinstance(kind, enum.EnumMeta):
        return {choice.value: choice for choice in cast(type[enum.Enum], kind)}
    return {}
