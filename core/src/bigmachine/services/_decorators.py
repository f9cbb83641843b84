"""The decorators of service methods: `parallel`, `concurrent` and `exclusive`.

They do not import trio, so a service's module can be imported without trio.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import types
from collections.abc import Callable
from types import EllipsisType
from typing import Any, TypeVar

from ..errors import UsageError

# Any: a decorator that returns what it gets takes functions of every signature.
Function = TypeVar("Function", bound=Callable[..., Any])

# On the function itself, so that they are pickled with a class that is pickled by value.
_PARALLEL = "__bigmachine_parallel__"
_CONCURRENT = "__bigmachine_concurrent__"
_EXCLUSIVE = "__bigmachine_exclusive__"


def parallel(method: Function = ...) -> Function:  # type: ignore[assignment]
    """Run a ``def`` method of a service in processes, not in threads.

    A machine runs it in up to ``maxprocs`` processes, each with its own copy of the
    service. So pure Python code uses every processor, and cancelling a call ends it::

        class PI:
            @bm.parallel
            def sample(self, n: int) -> int: ...

    The copies are made from what the driver sent: ``setup`` and ``teardown`` are not called in
    them, and they don't see what other methods change. On a free-threaded interpreter the method
    runs in a thread, like any other. Raises `UsageError` for anything but a ``def``.
    """
    _checked(method, "parallel")
    why = ""
    if inspect.isgeneratorfunction(method):
        why = "is a generator: return a list, or stream from a method without bm.parallel"
    elif inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        why = "is async, so it runs in the machine's own loop: make it a def"
    elif not inspect.isfunction(method):
        why = "is no function of Python: wrap it in a def"
    if why:
        raise UsageError(f"bm.parallel is for plain def methods, and {_name(method)} {why}")
    return _mark(method, _PARALLEL, refused=_CONCURRENT)


def concurrent(method: Function = ...) -> Function:  # type: ignore[assignment]
    """Let a method that mostly waits run beside others, without a place among ``maxprocs``.

    For ``def`` methods, and generators, that wait for a network, a disk or another program::

        class Pages:
            @bm.concurrent
            def size(self, url: str) -> int:
                return len(urlopen(url).read())

    Each call has a thread of its own; at most 500 run at once on a machine. An ``async def``
    takes no place in any case. Raises `UsageError` for what is not a method, and together with
    `parallel`.
    """
    return _mark(_checked(method, "concurrent"), _CONCURRENT, refused=_PARALLEL)


def exclusive(method: Function = ...) -> Function:  # type: ignore[assignment]
    """Never run a method at the same time as another exclusive one of the same service object.

    For methods that change what they share, which is safe with one processor and a race with
    more::

        class Counter:
            @bm.exclusive
            def add(self, n: int) -> int:
                self.total += n
                return self.total

    It may be a ``def``, an ``async def`` or a generator; a generator is exclusive while it
    computes an item. While it waits for its own call to another machine, others may run.
    Raises `UsageError` for what is not a method.
    """
    return _mark(_checked(method, "exclusive"), _EXCLUSIVE)


def runs_in_processes(method: object) -> bool:
    """Whether a method is `parallel`, and the GIL would let one thread compute at a time."""
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)
    return _has(method, _PARALLEL) and has_gil()


def is_concurrent(method: object) -> bool:
    """Whether a method is `concurrent`."""
    return _has(method, _CONCURRENT)


def is_exclusive(method: object) -> bool:
    """Whether a method is `exclusive`."""
    return _has(method, _EXCLUSIVE)


def _checked(method: Function, decorator: str) -> Function:
    kind = type(method).__name__
    if isinstance(method, EllipsisType):  # from `@bm.parallel()`
        raise UsageError(f"write @bm.{decorator} above the def, without parentheses")
    if isinstance(method, staticmethod | classmethod):
        raise UsageError(f"put bm.{decorator} below @{kind}, next to the def")
    if isinstance(method, type):
        raise UsageError(f"bm.{decorator} is for methods: decorate those of {_name(method)}")
    if not callable(method):
        raise UsageError(
            f"bm.{decorator} is for methods, and a {kind} is not one: write @bm.{decorator} above "
            "the def, without arguments"
        )
    return method


def _mark(method: Function, mark: str, *, refused: str = "") -> Function:
    if refused and _has(method, refused):
        raise UsageError(
            f"{_name(method)} can't be both bm.concurrent and bm.parallel: the first is for "
            "methods that wait, the other for methods that compute"
        )
    if inspect.isfunction(method) and _has_module(method):
        method = _copy(method)
    try:
        setattr(method, mark, True)
    except (AttributeError, TypeError):
        raise UsageError(f"{_name(method)} can't be decorated; wrap it in a def") from None
    return method


def _has(method: object, mark: str) -> bool:
    # A service may be any object that can be called; then its class has the mark.
    found = getattr(method, mark, None) or getattr(type(method).__call__, mark, None)
    return found is True


def _has_module(function: object) -> bool:
    """Whether another process can import it by its name, but without the mark."""
    try:
        module = sys.modules[function.__module__]
        return operator.attrgetter(_name(function))(module) is function
    except (AttributeError, KeyError):  # it is being defined
        return False


def _copy(function: Any) -> Any:  # Any: of the same type
    """Copy a function that is defined elsewhere: the mark is for its new place alone."""
    copy = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    functools.update_wrapper(copy, function)
    del vars(copy)["__wrapped__"]  # it wraps nothing
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _name(method: object) -> str:
    return str(getattr(method, "__qualname__", repr(method)))
