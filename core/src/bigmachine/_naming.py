"""What can be called from afar: the names of services and of their methods.

Apart from the wire, so that a driver may make stubs before it has imported trio.
"""

from __future__ import annotations

import functools
import inspect

from .errors import UsageError

# Called by the machine when the service is installed, never from afar.
_RESERVED = frozenset({"setup"})

# What makes a method of a class's attribute, but can't be called itself.
_METHOD_DESCRIPTORS = (classmethod, functools.partialmethod, functools.singledispatchmethod)


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
