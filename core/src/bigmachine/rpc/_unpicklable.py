"""Finds what it is in a value that can't be pickled, and says where it is and what to do."""

from __future__ import annotations

import collections
import functools
import inspect
import sys
import types
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Any

from ..errors import UsageError
from ..services._handle import Handle
from ._exception_graph import type_name
from ._payload import USER_ERRORS, dumps, is_plain
from .pickling._exception_state import exception_state

# Some objects refer to others without end, each made anew.
_MAX_DEPTH = 50

# Objects of these modules are named as a whole, not by their own locks: a future, a thread, …
_OPAQUE = sys.stdlib_module_names - {"types", "argparse"}


class Unpicklable:
    """The innermost part of ``value`` that can't be pickled.

    ``path`` leads to it from ``value``: ``[3].lock``, or ``""`` for the value itself, or a
    phrase such as ``the global variable lock that Pi.sample() uses``.
    """

    def __init__(self, value: object) -> None:
        self.path = ""
        self.part = value
        self.error = _error(value)
        seen: set[int] = set()
        while len(seen) < _MAX_DEPTH:
            seen.add(id(self.part))
            for step, part in _parts(self.part):
                if id(part) not in seen and (error := _error(part)) is not None:
                    self.path = self.path + step if _is_step(step) else step
                    self.part, self.error = part, error
                    break
            else:
                break

    def describe(self, name: str, *, instead: str) -> str:
        """Return ``NAME[3].lock (a _thread.lock) can't be pickled (…); INSTEAD``."""
        path = self.path if _is_step(self.path) else f": {self.path}"
        return f"{name}{path}{self.why(instead)}"

    def why(self, instead: str) -> str:
        """Return all but the name; ``instead`` says what to do, unless the kind of part does."""
        if isinstance(self.error, UsageError):
            return f": {self.error}"
        why = (str(self.error) or type(self.error).__name__).splitlines()[0]
        advice = _advice(self.part) or instead
        return f" (a {type_name(type(self.part))}) can't be pickled ({why}); {advice}"


def _is_step(path: str) -> bool:
    """Whether it goes on from a name, as ``[3].lock`` does, and is no phrase."""
    return not path or path[0] in ".["


def _error(value: object) -> BaseException | None:
    if is_plain(value):
        return None
    try:
        dumps(value)
    except USER_ERRORS as exc:
        return exc.with_traceback(None)  # its frames would keep the value, in a cycle
    return None


def _advice(value: object) -> str:
    if isinstance(value, Future):
        return "pass its result()"
    if isinstance(value, (Iterator, AsyncIterator)):
        return "pass a list; only an argument that is an iterator itself is streamed"
    return ""


def _parts(value: Any) -> Iterator[tuple[str, object]]:
    """Yield what ``value`` is pickled with, each with its step from there."""
    try:
        yield from _contents(value)
    except USER_ERRORS:  # of the user's own __getstate__, or whatever runs here
        return


def _contents(value: Any) -> Iterator[tuple[str, object]]:
    if isinstance(value, (Handle, Future)):  # what they contain is nobody's business
        return
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", item) for key, item in value.items())
        yield from (("a key of a dict", key) for key in value)
    elif isinstance(value, (list, tuple, collections.deque)):
        yield from ((f"[{place}]", item) for place, item in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from (("an element of a set", item) for item in value)
    if isinstance(value, functools.partial):
        yield from _attributes(value, "func", "args", "keywords")
    elif isinstance(value, (types.MethodType, types.BuiltinMethodType)):
        yield ".__self__", value.__self__
        yield "", getattr(value, "__func__", None)
    elif isinstance(value, types.FunctionType):
        yield from _variables(value)
    elif isinstance(value, type):
        yield from ((f".{name}", item) for name, item in vars(value).items())
    elif isinstance(value, property):
        yield from (("", function) for function in (value.fget, value.fset, value.fdel))
    elif isinstance(value, functools.cached_property):
        yield "", value.func
    elif isinstance(value, BaseException):
        if (state := exception_state(value)) is not None:
            yield ".args", state.args
            yield from ((f".{name}", item) for name, item in state.attributes.items())
    elif hasattr(value, "__wrapped__"):  # a static or class method, a cached function
        yield "", value.__wrapped__
    elif type(value).__module__.partition(".")[0] not in _OPAQUE:
        yield from _state(value)
    yield type(value).__qualname__, type(value)


def _state(value: Any) -> Iterator[tuple[str, object]]:
    state = value.__getstate__()
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, dict):
            yield from ((f".{name}", item) for name, item in part.items())
        else:
            yield "", part


def _variables(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    user = f"that {function.__qualname__}() uses"
    variables = inspect.getclosurevars(function)
    yield from ((f"the variable {name} {user}", item) for name, item in variables.nonlocals.items())
    for name, item in variables.globals.items():
        yield f"the global variable {name} {user}", item
    defaults = *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()
    yield from ((f"a default of {function.__qualname__}()", item) for item in defaults)
    yield from ((f"{function.__qualname__}.{name}", item) for name, item in vars(function).items())


def _attributes(value: object, *names: str) -> Iterator[tuple[str, object]]:
    yield from ((f".{name}", getattr(value, name)) for name in names)
