"""Enums that are sent by value: their members arrive whole, and none of the enum's code runs.

``__init__``, ``__new__`` and ``_generate_next_value_`` have done their work where the enum was
defined. So the members are made bare, together with the class, and get their attributes
with it. Everywhere else a member is sent as its class and its name.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType
from typing import Any

from ._modules import is_found_by_name

# What `enum` keeps in a class for itself, and cloudpickle leaves out.
_INTERNALS = frozenset(
    {
        "_generate_next_value_",
        "_member_map_",
        "_member_names_",
        "_member_type_",
        "_value2member_map_",
    }
)

# By name: the `__new__` of the built-in type below a member, and its arguments.
BareMembers = Mapping[str, tuple[Callable[..., Any], tuple[Any, ...]]]


def reduce_member(member: enum.Enum) -> Any:
    """Send a member of an enum of a script as its class and its name."""
    kind = type(member)
    if is_found_by_name(kind, kind.__qualname__):
        return NotImplemented
    name = getattr(member, "_name_", None)
    if name is None or kind._member_map_.get(name) is not member:
        return NotImplemented  # a combination of flags: its class makes it from the value
    return _find_member, (kind, name)


def _find_member(kind: type[enum.Enum], name: str) -> enum.Enum:
    return kind._member_map_[name]


def bare_members(kind: type[enum.Enum]) -> BareMembers:
    """Return how the members of an enum are made, without the names that are aliases."""
    return {name: _construction(member) for name, member in _members(kind).items()}


def make_bare_members(kind: type[enum.Enum], members: BareMembers) -> None:
    """Give an empty enum its members, so that everything else can refer to them."""
    made = {name: new(kind, *args) for name, (new, args) in members.items()}
    type.__setattr__(kind, "_member_map_", made)


def enum_attributes(kind: type[enum.Enum]) -> dict[str, Any]:
    """Return those attributes of an enum that its metaclass makes."""
    members = _members(kind)
    own = vars(kind)
    attributes = {name: own[name] for name in (*_INTERNALS, *members) if name in own}
    attributes["_value2member_map_"] = {
        value: member
        for value, member in list(kind._value2member_map_.items())
        if member.name in members  # combinations of flags are made when they are needed
    }
    return attributes


def without_members(kind: type[enum.Enum], attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that can change after an enum was made."""
    fixed = _INTERNALS | kind._member_map_.keys()
    return {name: value for name, value in attributes.items() if name not in fixed}


def member_states(kind: type[enum.Enum]) -> dict[str, Any]:
    """Return the attributes of each member, by its name; slots in a second dict."""
    states = {}
    for name, member in _members(kind).items():
        state: Any = object.__getstate__(member)
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        attributes.pop("__objclass__", None)
        states[name] = attributes, slots or {}
    return states


def set_member_state(kind: type[enum.Enum], name: str, state: tuple[Any, Any]) -> None:
    member = kind._member_map_[name]
    attributes, slots = state
    vars(member).update(attributes, __objclass__=kind)
    for slot, value in slots.items():
        object.__setattr__(member, slot, value)


def _members(kind: type[enum.Enum]) -> dict[str, enum.Enum]:
    return {name: member for name, member in kind._member_map_.items() if member._name_ == name}


def _construction(member: enum.Enum) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    # The first that Python code has not defined: it decides how the member is stored.
    new = next(
        vars(base)["__new__"]
        for base in type(member).__mro__
        if isinstance(vars(base).get("__new__"), BuiltinFunctionType)
    )
    stored: Any = new.__self__
    if stored is object:
        return new, ()
    if hasattr(stored, "__getnewargs__"):  # int, str, tuple, …
        return new, stored.__getnewargs__(member)
    return new, stored.__reduce__(member)[1]  # date, Decimal, …
