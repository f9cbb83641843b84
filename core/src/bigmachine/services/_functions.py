"""A service's method, named by its function: `PI.sample` in place of ``"PI.sample"``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping

from ..errors import UsageError
from ._names import method_names

STUBBED = "__bigmachine_method__"
"""The attribute of a stub's method that says what it calls, such as ``"PI.sample"``."""


def interface_of(service: object) -> object:
    """Return what is to be remembered of a service: a function itself, of an object its class."""
    return service if inspect.isroutine(service) else type(service)


def name_of(
    function: Callable[..., object], services: Mapping[str, object] | None, *, machine: str
) -> str:
    """Return the name under which a function can be called on a ``machine``.

    ``services`` are the interfaces of its services by name; None if they are not known. Raises
    `UsageError` unless exactly one of them has the function.
    """
    if isinstance(stubbed := getattr(function, STUBBED, None), str):
        return stubbed
    what = getattr(function, "__qualname__", None) or repr(function)
    if services is None:
        raise UsageError(
            f"{what}: the services of {machine} are not known here, because this session did "
            'not start it; call the method by its name, as in "Service.method"'
        )
    matches = [*_matches(getattr(function, "__func__", function), services)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(
            f"{what} is a method of several services of {machine}; "
            f"call it by its name, one of: {_listed(matches)}"
        )
    names = [*_all_names(services)]
    same = [name for name in names if name.endswith(f".{getattr(function, '__name__', '')}")]
    raise UsageError(
        f"{what} is not a method of any service of {machine}; "
        f"call a method by its name, as in: {_listed(same or names)}"
    )


def hint_at_method(name: str, services: Mapping[str, object] | None) -> str:
    """Return how a service, or a method, called ``name`` is called; ``""`` if there is none."""
    names = [each for each in _all_names(services or {}) if name in each.split(".")]
    return f'; a method is called by its name: call("{names[0]}")' if names else ""


def _matches(function: object, services: Mapping[str, object]) -> Iterator[str]:
    for name, interface in services.items():
        if not isinstance(interface, type):
            if interface is function:
                yield name
            continue
        # In all classes: a method that overrides this one is called in its place.
        methods = [
            method
            for method in method_names(interface)
            if any(_function(vars(base).get(method)) is function for base in interface.__mro__)
        ]
        original = getattr(function, "__name__", "")
        yield from (f"{name}.{m}" for m in ([original] if original in methods else methods))


def _function(attribute: object) -> object:
    return attribute.__func__ if isinstance(attribute, classmethod | staticmethod) else attribute


def _all_names(services: Mapping[str, object]) -> Iterator[str]:
    for name, interface in services.items():
        if not isinstance(interface, type):
            yield name
            continue
        if any("__call__" in vars(base) for base in interface.__mro__):
            yield name
        yield from (f"{name}.{method}" for method in method_names(interface))


def _listed(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) or '"Service.method"'
