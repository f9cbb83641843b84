"""What can be called remotely: the names of services and of their methods.

It does not import trio, so a driver can make stubs before it needs trio.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping
from types import FunctionType

from ..errors import UsageError

TEARDOWN_SECONDS = 10.0
"""How long the ``teardown`` of each service may take."""

RESERVED_METHODS = frozenset({"setup", "teardown"})
"""The machine calls them itself; nobody can call them remotely."""

# What turns a class's attribute into a method, but can't be called itself.
_METHOD_DESCRIPTORS = (classmethod, functools.partialmethod, functools.singledispatchmethod)


def method_names(service: object) -> list[str]:
    """Return the methods of ``service`` that can be called remotely."""
    # Statically, because reading a property or cached_property would compute its value.
    of_class = _class_attributes(service)
    return [
        name
        for name in dir(service)
        if not name.startswith("_")
        and name not in RESERVED_METHODS
        and _is_method(
            of_class[name] if name in of_class else inspect.getattr_static(service, name, None)
        )
    ]


def has_method(service: object, name: str) -> bool:
    """Whether ``name`` is one of `method_names`; for an ordinary method, it looks at no other.

    A machine that starts looks up a few of its supervisor's many methods.
    """
    # A `__dir__` of its own may hide some.
    if not isinstance(service, type) and type(service).__dir__ is object.__dir__:
        for cls in type(service).__mro__:
            if name in vars(cls):
                is_ordinary = (
                    isinstance(vars(cls)[name], FunctionType)
                    and not name.startswith("_")
                    and name not in RESERVED_METHODS
                    and name not in _own_attributes(service)
                )
                if is_ordinary:
                    return True
                break
    return name in method_names(service)


def check_service_name(name: object) -> None:
    """Raise `UsageError` unless ``name`` can be the part before the dot."""
    if not isinstance(name, str) or not name.isidentifier():
        hint = ""
        if isinstance(name, str) and (valid := re.sub(r"\W+", "_", name).strip("_0123456789")):
            hint = f"; for instance {valid!r}"
        raise UsageError(f"a service's name must be an identifier, not {name!r}{hint}")
    if name.startswith("_"):
        raise UsageError(
            f"a service's name must not begin with an underscore, as {name!r} does: such names are "
            "not public"
        )


def _class_attributes(service: object) -> dict[str, object]:
    """Return what only the classes of ``service`` have, as `inspect.getattr_static` finds it.

    Python before 3.12 takes several times as long to find each.
    """
    if isinstance(service, type):
        return {}
    found: dict[str, object] = {}
    for cls in reversed(type(service).__mro__):
        found |= vars(cls)
    own = _own_attributes(service)
    return {name: value for name, value in found.items() if name not in own}


def _own_attributes(service: object) -> Mapping[str, object]:
    try:
        own: Mapping[str, object] = object.__getattribute__(service, "__dict__")
    except AttributeError:  # it has slots
        return {}
    return own


def _is_method(attribute: object) -> bool:
    return callable(attribute) or isinstance(attribute, _METHOD_DESCRIPTORS)
