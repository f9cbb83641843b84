"""Classes that are sent by value: at the other end, each is made once.

cloudpickle gives each class an id, so that it is one class at the other end, however often it
is sent. Added here: instances are stored as at this end (``__slots__``); none of the user's hooks
runs that a class statement would call; a class that comes back to the process that defined it
stays as it is there; and what the other end keeps in a class stays there, unless the sender
changes it.
"""

from __future__ import annotations

import abc
import contextlib
import enum
import hashlib
import weakref
from collections.abc import Callable
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, NamedTuple

import cloudpickle
from cloudpickle.cloudpickle import _lookup_class_or_track

from ._enums import (
    BareMembers,
    bare_members,
    enum_attributes,
    make_bare_members,
    member_states,
    set_member_state,
    without_members,
)
from ._modules import is_found_by_name
from ._quiet_class import imported_metaclass, make_bare_class, make_quiet_class

_known: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
_own: weakref.WeakSet[type] = weakref.WeakSet()
# The data in classes of other processes as it arrived last: by name, what `_fingerprint` returns.
_arrived: weakref.WeakKeyDictionary[type, dict[str, object]] = weakref.WeakKeyDictionary()


class _Definition(NamedTuple):
    """What the class is made from, before anything can refer to it."""

    metaclass: type
    name: str
    bases: tuple[type, ...]
    namespace: dict[str, Any]
    members: BareMembers | None


class _State(NamedTuple):
    """What is set afterwards, and may refer to the class."""

    attributes: dict[str, Any]
    registered: list[type]
    member_states: dict[str, Any]


def reduce_class(cls: type, reduced: Any) -> Any:
    """Change what cloudpickle says of a class that it sends by value."""
    if type(reduced) is not tuple or len(reduced) < 6:  # by reference, or of a built-in type
        return reduced
    id: str = reduced[1][-2]
    if id not in _known:
        _known[id] = cls
        _own.add(cls)
    attributes: dict[str, Any] = reduced[2][0]
    registered = attributes.pop("_abc_impl", [])
    members: BareMembers | None = None
    states: dict[str, Any] = {}
    if issubclass(cls, enum.Enum):
        members = bare_members(cls)
        states = member_states(cls)
        attributes |= enum_attributes(cls)
    own = vars(cls)
    namespace = {name: own[name] for name in ("__module__", "__orig_bases__") if name in own}
    if isinstance(own.get("__dict__"), property):
        namespace["__dict__"] = own["__dict__"]
    if "__slots__" in own:
        namespace["__slots__"] = _slots(cls)
        attributes = {name: value for name, value in attributes.items() if not _is_slot(cls, value)}
        if not isinstance(own["__slots__"], (tuple, list, dict)):
            attributes["__slots__"] = namespace["__slots__"]  # it was an iterator, perhaps
    definition = _Definition(type(cls), cls.__name__, cls.__bases__, namespace, members)
    state = _State(attributes, registered, states)
    return _make_class, (id, *definition), tuple(state), None, None, _set_class_state


def spell_out_private_slot(cls: type) -> None:
    """Make a tuple of ``__slots__ = "__name"``, which cloudpickle can't read."""
    slots = vars(cls).get("__slots__")
    is_mangled = isinstance(slots, str) and slots not in vars(cls)
    if is_mangled and not is_found_by_name(cls, cls.__qualname__):
        type.__setattr__(cls, "__slots__", (slots,))


def _slots(cls: type) -> tuple[str, ...]:
    """Return the slots of a class alone, as they are stored: private names are mangled."""
    special = "__dict__", "__weakref__"
    return tuple(
        name
        for name, value in vars(cls).items()
        if _is_slot(cls, value) or (name in special and isinstance(value, GetSetDescriptorType))
    )


def _is_slot(cls: type, value: object) -> bool:
    return isinstance(value, MemberDescriptorType) and value.__objclass__ is cls


def _make_class(id: str, *parts: Any) -> type:
    cls = _known.get(id)
    if cls is None:
        metaclass, name, bases, namespace, members = _Definition(*parts)
        if members is None:
            cls = make_quiet_class(metaclass, name, bases, namespace)
        else:
            cls = make_bare_class(metaclass, name, bases, namespace)
            make_bare_members(cls, members)
        _known[id] = cls = _lookup_class_or_track(id, cls)
    return cls


_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})


def _set_class_state(cls: type, parts: tuple[Any, ...]) -> None:
    if cls in _own:
        return
    state = _State(*parts)
    attributes = state.attributes
    set_attribute: Callable[..., None] = imported_metaclass(type(cls)).__setattr__
    if issubclass(cls, enum.Enum):
        if cls in _arrived:
            attributes = without_members(cls, attributes)
        set_attribute = type.__setattr__  # the metaclass would refuse to set members
    arrived = _arrived.setdefault(cls, {})
    for name, value in attributes.items():
        fingerprint = None if name.startswith("__") else _fingerprint(value)
        if fingerprint is None or fingerprint != arrived.get(name):
            set_attribute(cls, name, value)
        arrived[name] = fingerprint
    if "__firstlineno__" in attributes:  # Python 3.13 removes it when __module__ is set
        set_attribute(cls, "__firstlineno__", attributes["__firstlineno__"])
    for subclass in state.registered:
        abc.ABCMeta.register(cls, subclass)  # type: ignore[arg-type]
    for name, value in state.member_states.items():
        key = f"the state of {name}"
        fingerprint = _fingerprint(value)
        if key not in arrived or fingerprint != arrived[key]:
            set_member_state(cls, name, value)
        arrived[key] = fingerprint


def _fingerprint(value: object) -> object:
    """Return what is equal for equal data; None for all that is no plain data."""
    if type(value) in _PLAIN:
        return type(value), value
    if isinstance(value, (dict, list, set, tuple)):
        with contextlib.suppress(Exception):  # it has a part that can't be pickled from here
            return hashlib.sha256(cloudpickle.dumps(value)).digest()
    return None
