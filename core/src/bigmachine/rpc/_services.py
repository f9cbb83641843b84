"""The service objects of one machine, and what a method's name finds."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import UsageError

# Called by the machine when the service is installed, never from afar.
_RESERVED = frozenset({"setup"})


class Method(NamedTuple):
    """A bound service method; a coroutine function runs in the loop, the rest in threads."""

    name: str
    function: Callable[..., Any]
    is_async: bool


class Services:
    """Service objects by name: ``"Service.method"`` finds any public method of any object."""

    def __init__(self) -> None:
        self._objects: dict[str, object] = {}
        self._methods: dict[str, Method] = {}

    def add(self, name: str, service: object) -> None:
        """Install ``service``; `UsageError` if the name is taken."""
        check_service_name(name)
        if name in self._objects:
            raise UsageError(f"a service named {name!r} is installed already")
        self._objects[name] = service

    def remove(self, name: str) -> None:
        """Take a service away again, as when its ``setup`` failed."""
        del self._objects[name]
        for method in [m for m in self._methods if m.startswith(name + ".")]:
            del self._methods[method]

    def find(self, name: str) -> Method:
        """Return the method called ``"Service.method"``; `UsageError` lists what there is."""
        method = self._methods.get(name)
        if method is None:
            method = self._methods[name] = self._find(name)
        return method

    def _find(self, name: str) -> Method:
        service_name, _, method_name = name.partition(".")
        service = self._objects.get(service_name)
        if service is None:
            raise UsageError(
                f"no service {service_name!r} here; "
                + _there_are(service_name, [n for n in self._objects if n != "Supervisor"])
            )
        names = method_names(service)
        if method_name not in names:
            raise UsageError(
                f"service {service_name!r} has no method {method_name!r}; "
                + _there_are(method_name, names)
            )
        function = getattr(service, method_name)
        is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        return Method(name, function, is_async)


def method_names(service: object) -> list[str]:
    """Return the methods of ``service`` that can be called from afar."""
    # Statically: to look at a property's or a cached_property's value is to compute it.
    return [
        name
        for name in dir(service)
        if not name.startswith("_")
        and name not in _RESERVED
        and _is_method(inspect.getattr_static(service, name, None))
    ]


def check_service_name(name: str) -> None:
    """Raise `UsageError` unless ``name`` can be the part before the dot."""
    if not isinstance(name, str) or not name.isidentifier():
        raise UsageError(f"a service's name must be an identifier, not {name!r}")


def _is_method(attribute: object) -> bool:
    return callable(attribute) or isinstance(attribute, _METHOD_DESCRIPTORS)


# What makes a method of a class's attribute but can't be called itself.
_METHOD_DESCRIPTORS = (classmethod, functools.partialmethod, functools.singledispatchmethod)


def _there_are(wanted: str, names: list[str]) -> str:
    if not names:
        return "there are none"
    close = difflib.get_close_matches(wanted, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}There are: {', '.join(sorted(names))}"
