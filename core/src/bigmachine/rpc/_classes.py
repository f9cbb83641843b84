"""Classes that are sent by value: at the other end, each is made once.

cloudpickle gives each class an id, so that it is one class at the other end, however often it
is sent. Added here: a class that comes back to the process that defined it stays as it is there;
what the other end keeps in a class stays there, unless the sender changes it; and a class that is
known is not made again, because that would run the hooks of its bases.
"""

from __future__ import annotations

import contextlib
import hashlib
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle

from ._modules import is_importable

_known: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
_own: weakref.WeakSet[type] = weakref.WeakSet()
# The data in classes of other processes as it arrived last: by name, what `_fingerprint` returns.
_arrived: weakref.WeakKeyDictionary[type, dict[str, object]] = weakref.WeakKeyDictionary()


def reduce_class(cls: type, reduced: Any) -> Any:
    """Change what cloudpickle says of a class that it sends by value."""
    if type(reduced) is not tuple or len(reduced) < 6:  # by reference, or of a built-in type
        return reduced
    make, args, state, _, _, set_state = reduced
    if _id(args) not in _known:
        _known[_id(args)] = cls
        _own.add(cls)
    return _make_class, (make, args), (set_state, state), None, None, _set_class_state


def _make_class(make: Callable[..., type], args: tuple[Any, ...]) -> type:
    cls = _known.get(_id(args))
    if cls is None:
        try:
            cls = make(*args)
        except Exception:
            # A base's __init_subclass__, or the metaclass, wants arguments of the class
            # statement. Its work is done already: what it left in the class is sent.
            metaclass, *rest = args
            if not isinstance(metaclass, type):  # an enum's arguments are others
                raise
            cls = make(_without_hooks(metaclass), *rest)
        _known[_id(args)] = cls
    return cls


_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})


def _set_class_state(cls: type, state: tuple[Callable[..., object], Any]) -> None:
    if cls in _own:
        return
    set_state, (attributes, others) = state
    arrived = _arrived.setdefault(cls, {})
    changed = {}
    for name, value in attributes.items():
        fingerprint = None if name.startswith("__") else _fingerprint(value)
        if fingerprint is None or fingerprint != arrived.get(name):
            changed[name] = value
        arrived[name] = fingerprint
    set_state(cls, (changed, others))


def _fingerprint(value: object) -> object:
    """Return what is equal for equal data; None for all that is no plain data."""
    if type(value) in _PLAIN:
        return type(value), value
    if isinstance(value, (dict, list, set, tuple)):
        with contextlib.suppress(Exception):  # it has a part that can't be pickled from here
            return hashlib.sha256(cloudpickle.dumps(value)).digest()
    return None


def _id(args: tuple[Any, ...]) -> str:
    """Return cloudpickle's id of a class, from the arguments of the function that makes it."""
    id: str = args[-2]
    return id


def _without_hooks(metaclass: type) -> Callable[..., type]:
    """Return a function that makes a class and runs no hook of the user's for it."""
    # The user's own metaclass is sent by value; one that is imported does the library's work.
    imported = next(kind for kind in metaclass.__mro__ if is_importable(kind.__module__))

    def make(name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
        if all(base is object for base in bases):
            return imported.__new__(metaclass, name, bases, namespace)
        quiet = _Quiet if bases[0].__dictoffset__ else _QuietSlots
        cls: type = imported.__new__(metaclass, name, (quiet, *bases), namespace)
        # If instances of the bases have another layout, it stays one of the bases.
        with contextlib.suppress(TypeError):
            cls.__bases__ = bases
        return cls

    return make


class _Quiet:
    """The first base of a class while it is made: it hides the others' ``__init_subclass__``."""

    def __init_subclass__(cls) -> None:
        pass


class _QuietSlots:
    """The same, for classes whose instances have no ``__dict__``."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        pass
