"""Typed stubs: objects with the methods of a service's class, which call it remotely."""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar, cast

from .._spelling import did_you_mean
from ..errors import UsageError
from ._functions import STUBBED
from ._handle import Handle
from ._names import check_service_name, method_names
from ._tracebacks import short_traceback

T = TypeVar("T")

_STREAMS = (Iterator, AsyncIterator)


def make_stub(
    interface: type[T], name: str, *, call: Callable[..., Any], stream: Callable[..., Any]
) -> T:
    """Return an object whose methods call the service ``name``.

    They use ``stream`` if the method of ``interface`` is a generator function or is
    annotated to return an iterator, and ``call`` otherwise. So ``interface`` may be a
    Protocol without method bodies.
    """
    if isinstance(interface, str) and isinstance(name, type):
        raise UsageError(
            f'service() takes the class first: service({name.__name__}, "{interface}")'
        )
    check_service_name(name)
    if not isinstance(interface, type):
        raise UsageError(f"service() takes the service's class, not {interface!r}")
    return cast(T, _Stub(interface, name, call, stream))


class _Stub(Handle):
    _instead = "pass the addr of its machine, and make a stub there"

    def __init__(
        self, interface: type, name: str, call: Callable[..., Any], stream: Callable[..., Any]
    ) -> None:
        self._interface = interface
        self._name = name
        self._call = call
        self._stream = stream

    def __getattr__(self, name: str) -> Callable[..., Any]:
        names = () if name.startswith("_") else method_names(self._interface)
        if name not in names:
            raise AttributeError(f"{self._lacks(name)}{did_you_mean(name, names)}")
        is_stream = _is_generator(getattr(self._interface, name))
        send = self._stream if is_stream else self._call

        @short_traceback
        def method(*args: Any, **kwargs: Any) -> Any:
            return send(f"{self._name}.{name}", *args, **kwargs)

        method.__name__ = name
        method.__qualname__ = f"{self!r}.{name}"
        method.__doc__ = getattr(self._interface, name).__doc__
        vars(method)[STUBBED] = f"{self._name}.{name}"
        self.__dict__[name] = method
        return method

    def __setattr__(self, name: str, value: object) -> None:
        # What replaces a method in a test is no mistake.
        if not name.startswith("_") and name not in method_names(self._interface):
            raise AttributeError(
                f"{self._lacks(name)}: a stub has no data; have a method of the service set it"
            )
        super().__setattr__(name, value)

    def _lacks(self, name: str) -> str:
        return f"{self._interface.__name__} has no method {name!r}"

    def __dir__(self) -> list[str]:
        return method_names(self._interface)

    def __repr__(self) -> str:
        return f"<stub of {self._interface.__name__} as {self._name!r}>"


def _is_generator(function: Any) -> bool:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return True
    try:
        result = typing.get_type_hints(function).get("return")
    except (NameError, TypeError):  # annotations that only a type checker can read
        return False
    origin = typing.get_origin(result) or result
    return isinstance(origin, type) and issubclass(origin, _STREAMS)
