"""What is said of an option that is wrong: what was probably meant, and how that is written."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .._spelling import close_matches, did_you_mean, one_of
from ._option_types import convert, is_list, list_example, written_choices

Write = Callable[[str, Any], str]  # Any: a value of an option
"""Writes an option, by its name, and a value as users do where it is set."""

_OF_START = ("services", "environ", "argv", "wait")  # what some give to the session instead
_SECRET = re.compile("credential|secret|access_key|token|password|key_file")
_MAX_VALUE = 60  # characters of a value in a message
_MANY = 10  # options; if a few are near a misspelt one, no more are listed
_MARKS = "[]()'\" "  # with which lists are written elsewhere than in texts


def as_keyword(name: str, value: Any) -> str:
    """Write ``zones=['a', 'b']``."""
    return f"{name}={[*value] if isinstance(value, tuple) else value!r}"


def on_command_line(name: str, value: Any) -> str:
    """Write ``-o zones=a,b``."""
    return f"-o {name}={_text(value)}"


def in_variable(prefix: str) -> Write:
    """Return what writes ``BIGMACHINE_EC2_ZONES=a,b``; ``prefix`` is ``BIGMACHINE_EC2_``."""
    return lambda name, value: f"{prefix}{name.upper()}={_text(value)}"


def in_toml(name: str, value: Any) -> str:
    """Write ``zones = ["a", "b"]``."""
    return f"{name} = {json.dumps(value, default=str, ensure_ascii=False)}"


def _text(value: Any) -> str:
    items = value if isinstance(value, list | tuple) else [value]
    return ",".join(str(item).lower() if isinstance(item, bool) else str(item) for item in items)


def unknown_option(
    name: str,
    kinds: Mapping[str, Any],
    *,
    other_names: Mapping[str, Collection[str]],
    system: str | None,
    write: Write,
) -> tuple[str, str]:
    """Return ``"; did you mean 'x'?"``, or ``""``, and where all options are.

    ``kinds`` are the annotations of all options, and ``other_names`` what else users call them, by
    name; ``system`` is the one whose options they are, which ``bigmachine systems`` lists.
    """
    names, form = [*kinds], name.lower().replace("-", "_")
    choices = [
        write(option, choice)
        for option, kind in kinds.items()
        for choice in written_choices(kind)
        if choice.replace("-", "_") == form
    ]
    near = [
        option for option, others in other_names.items() if _letters(name) in map(_letters, others)
    ]
    near = near or close_matches(name, names)
    is_secret = not near and _SECRET.search(form)
    if not near and not is_secret:
        near = [each for each in names if {*form.split("_")} & {*each.split("_")}]
    guess = f"; did you mean {one_of(near)}?" if near else ""
    if choices:  # spot=True
        guess = f"; did you mean {choices[0]}?"
    if is_secret:
        guess = "; credentials are not options, which appear in logs and files"
    if name in _OF_START:
        guess = f"; {name} is given to start()"
    if guess and system and len(names) > _MANY:
        return guess, f"`bigmachine systems {system}` lists all options"
    return guess, f"options: {', '.join(names)}" if names else "it has none"


def _letters(name: str) -> str:
    """Return what ``instanceType`` and ``instance_types`` have in common."""
    return re.sub("[^a-z]", "", name.lower()).rstrip("s")


def right_way(name: str, value: Any, kind: Any, *, is_text: bool, write: Write) -> str:
    """Say how a user writes a value of the annotation ``kind``, as ``value`` suggests.

    It is ``": write zones=['a']"``, ``"; did you mean 'spot'?"`` or, if nothing helps, ``""``.
    """
    if isinstance(value, Mapping):  # lists of KEY=VALUE are options, tables are none
        value = [f"{key}={item}" for key, item in value.items()]
        if is_list(kind) and value:
            return f": write {write(name, value)}"
    if isinstance(value, str):
        text = value
        if is_list(kind):
            text = ",".join(item.strip(_MARKS) for item in value.split(","))
        try:
            meant = convert(text, kind, is_text=True)
        except ValueError:
            meant = None
        if meant is not None:
            return f": write {write(name, meant)}"
    if is_list(kind):
        return f": write it like {write(name, list_example(kind))}"
    if kind is bool:
        return f": write {write(name, True)} or {write(name, False)}"
    return did_you_mean(str(value), written_choices(kind))


def range_text(field: dataclasses.Field[Any]) -> str:
    """Return the range of an option for people, such as ``", at least 1"``, or ``""``."""
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    if low is not None and high is not None:
        return f", between {_number(low)} and {_number(high)}"
    if low is not None:
        return f", at least {_number(low)}"
    return "" if high is None else f", at most {_number(high)}"


def help_text(field: dataclasses.Field[Any]) -> str:
    """Return what an option is, which may tell its unit: ``". Seconds after which …"``."""
    return f". {field.metadata.get('help', '')}".rstrip(". ")


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value}"


def range_problem(field: dataclasses.Field[Any], value: object) -> str | None:
    """Return what a number must be that is not in the range of its option; None if it is."""
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if (low is None or low <= value) and (high is None or value <= high):
        return None
    return f"must be{range_text(field).removeprefix(',')}"


def but_is(value: object, text: str) -> str:
    """Return ``", not VALUE"``, unless ``text`` says it already, or the value is a long list."""
    is_short = isinstance(value, str | int | float) and len(repr(value)) < _MAX_VALUE
    is_new = text.startswith("must be") and repr(value) not in text
    return f", not {value!r}" if is_short and is_new else ""
