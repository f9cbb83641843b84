"""What makes up an exception, and how it is made again without calling its ``__init__``.

Python's own way is ``type(exc)(*exc.args)``, which fails, or lies, if ``__init__`` takes other
arguments than it gives to its base. Here the built-in base makes the exception, from arguments
of its own, and the attributes are set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import FunctionType, MemberDescriptorType
from typing import Any, NamedTuple

# `type.__flags__`: the class was made by a class statement, or by an extension module.
_IS_HEAP_TYPE = 1 << 9

_NOT_SENT = frozenset(
    {
        vars(AttributeError)[
            "obj"
        ],  # whose attribute is missing: large perhaps, and only for hints
        vars(BaseExceptionGroup)["message"],  # these two are among the arguments
        vars(BaseExceptionGroup)["exceptions"],
    }
)


class ExceptionState(NamedTuple):
    """An exception in parts.

    ``args`` are the arguments of its built-in base, ``attributes`` its ``__dict__`` and
    ``slots`` the attributes that are stored elsewhere.
    """

    args: tuple[Any, ...]
    attributes: dict[str, Any]
    slots: dict[str, Any]


def exception_state(exc: BaseException) -> ExceptionState | None:
    """Take an exception apart; None if only its own class knows how to make one.

    No code of the user runs.
    """
    kind = type(exc)
    if _is_of_extension_module(kind):
        return None  # it has contents that Python code doesn't see
    if isinstance(exc, BaseExceptionGroup):
        args: tuple[Any, ...] = (exc.message, list(exc.exceptions))
    else:
        args = _built_in_base(kind).__reduce__(exc)[1]  # type: ignore[assignment]
    try:
        fresh = make_exception(kind, args)
    except Exception:
        return None
    slots = {}
    for name, slot in _slots(kind).items():
        value = _get(slot, exc)
        if value is not _get(slot, fresh):
            slots[name] = value
    return ExceptionState(args, dict(object.__getattribute__(exc, "__dict__")), slots)


def make_exception(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Return an exception of this class, made by its built-in base from ``args``."""
    base = _built_in_base(kind)
    exc: BaseException = base.__new__(kind, *args)
    try:
        base.__init__(exc, *args)
    except Exception:  # its __init__ did not call that of its base
        BaseException.__init__(exc, *args)
    return exc


def set_exception_state(
    exc: BaseException, attributes: Mapping[str, Any], slots: Mapping[str, Any]
) -> None:
    """Set the attributes of an exception, whatever its ``__setattr__`` does."""
    object.__getattribute__(exc, "__dict__").update(attributes)
    if slots:
        descriptors = _slots(type(exc))
        for name, value in slots.items():
            with contextlib.suppress(AttributeError, TypeError, KeyError):  # it is read-only
                descriptors[name].__set__(exc, value)


def reduce_exception(exc: BaseException) -> Any:
    """Pickle an exception in parts, unless its class says itself how it is pickled."""
    if any(isinstance(getattr(type(exc), name, None), FunctionType) for name in _OWN_WAYS):
        return NotImplemented
    state = exception_state(exc)
    if state is None:
        return NotImplemented
    arguments = type(exc), state.args
    return make_exception, arguments, state[1:], None, None, _set_state


_OWN_WAYS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")


def _set_state(exc: BaseException, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    set_exception_state(exc, *state)


def _built_in_base(kind: type) -> type[BaseException]:
    """Return the class that decides how an exception is stored; no user's class does."""
    while kind.__flags__ & _IS_HEAP_TYPE and kind.__base__ is not None:
        kind = kind.__base__
    return kind


def _is_of_extension_module(kind: type) -> bool:
    """Whether its ``__reduce__`` is neither Python's own nor written in Python."""
    owner = getattr(kind.__reduce__, "__objclass__", None)
    return owner is not None and bool(owner.__flags__ & _IS_HEAP_TYPE)


def _get(slot: MemberDescriptorType, exc: BaseException) -> Any:
    try:
        return slot.__get__(exc)
    except AttributeError:  # it is not set
        return _UNSET


_UNSET = object()


def _slots(kind: type) -> dict[str, MemberDescriptorType]:
    return {
        name: member
        for cls in reversed(kind.__mro__)
        for name, member in vars(cls).items()
        if isinstance(member, MemberDescriptorType)
        and not name.startswith("__")
        and member not in _NOT_SENT
    }
