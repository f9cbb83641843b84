"""What is said of an option that is wrong: what was probably meant, and how that is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from ..services._names import close_matches, did_you_mean, one_of
from ._option_types import convert, is_list, list_example, written_choices

Write = Callable[[str, Any], str]  # Any: a value of an option
"""Writes an option, by its name, and a value as users do where it is set."""

_OF_START = ("services", "environ", "argv", "wait")  # what some give to the session instead
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
    return ",".join(map(str, items))


def unknown_option(name: str, names: Iterable[str], *, is_listed: bool) -> tuple[str, str]:
    """Return ``"; did you mean 'x'?"``, or ``""``, and where all options are.

    ``is_listed`` is whether ``bigmachine systems`` lists them.
    """
    names = [*names]
    near = close_matches(name, names)
    if not near:
        near = [each for each in names if {*name.lower().split("_")} & {*each.split("_")}]
    guess = f"; did you mean {one_of(near)}?" if near else ""
    if name in _OF_START:
        guess = f"; {name} is given to start()"
    if guess and is_listed and len(names) > _MANY:
        return guess, "`bigmachine systems` lists all options"
    return guess, f"options: {', '.join(names)}" if names else "it has none"


def right_way(name: str, value: Any, kind: Any, *, is_text: bool, write: Write) -> str:
    """Say how a user writes a value of the annotation ``kind``, as ``value`` suggests.

    It is ``": write zones=['a']"``, ``"; did you mean 'spot'?"`` or, if nothing helps, ``""``.
    """
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
    return did_you_mean(str(value), written_choices(kind, is_text=is_text))
