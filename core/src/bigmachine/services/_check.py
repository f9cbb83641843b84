"""What can be a service: checked on the driver, before anything is started or purchased."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import cast

from ..errors import UsageError
from ._names import RESERVED_METHODS, check_service_name, method_names

# Nobody means these as services, though some have public methods.
_DATA = (str, bytes, bytearray, int, float, complex, list, tuple, dict, set, frozenset, range)


def check_services(services: object) -> Mapping[str, object]:
    """Return the argument of `Session.start`; raise `UsageError` if it has a mistake."""
    if services is None or services == {}:
        raise UsageError('no services: pass what the machines are to run, services={"Name": obj}')
    if not isinstance(services, Mapping):
        is_many = isinstance(services, Iterable) and not isinstance(services, str | bytes)
        some = itertools.islice(services, 3) if is_many else [services]  # type: ignore[call-overload]
        examples = ", ".join(map(_example, some)) or '"name": …'
        raise UsageError(
            f"services is a dict of names and objects, not a {type(services).__name__}: "
            f"write services={{{examples}}}"
        )
    for name, service in services.items():
        check_service_name(name)
        if name == "Supervisor":
            raise UsageError("the service name 'Supervisor' is taken by every machine's own")
        _check_service(name, service)
    return cast(Mapping[str, object], services)


def _check_service(name: str, service: object) -> None:
    what = f"service {name!r} is"
    if isinstance(service, type):
        raise UsageError(
            f"{what} the class {service.__name__}: pass an object of it, "
            f'{{"{name}": {service.__name__}()}}'
        )
    if service is None:
        raise UsageError(f"{what} None: pass an object with methods, or a function")
    if isinstance(service, ModuleType):
        short = service.__name__.rpartition(".")[2]
        raise UsageError(
            f"{what} the module {service.__name__}: pass one of its functions, "
            f'{{"{name}": {short}.…}}, or an object with methods'
        )
    if isinstance(service, staticmethod | classmethod | property):
        kind = type(service).__name__
        raise UsageError(f"{what} a {kind}, taken from a class body: pass a function")
    if type(service) is object or type(service) in _DATA or isinstance(service, bool):
        raise UsageError(
            f"{what} plain data (a {type(service).__name__}): pass an object with methods; "
            "give data to its __init__, or to its methods as an argument"
        )
    specials = [
        special for special in sorted(RESERVED_METHODS) if callable(getattr(service, special, None))
    ]
    for special in specials:
        _check_special(service, special)
    # One with a setup() alone may do all of its work there.
    if not (specials or callable(service) or method_names(service)):
        raise UsageError(
            f"{what} an object without public methods (a {type(service).__name__}), so nothing of "
            "it could be called"
        )


def _check_special(service: object, special: str) -> None:
    """Check ``setup`` or ``teardown``, which the machine calls itself."""
    method, label = getattr(service, special), f"{type(service).__name__}.{special}"
    function = inspect.unwrap(method)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(f"{label} is a generator, so it would never run: remove its yield")
    arguments = ("session",) if special == "setup" else ()
    try:
        inspect.signature(method).bind(*arguments)
    except ValueError:  # it is not known, for instance because it is not written in Python
        pass
    except TypeError:
        wanted = ", ".join(("self", *arguments))
        raise UsageError(
            f"{label} has other parameters than those that the machine calls it with: "
            f"write def {special}({wanted})"
        ) from None


def _example(service: object) -> str:
    """Return how ``service`` is to be written in the dict."""
    if isinstance(service, type):
        return f'"{service.__name__}": {service.__name__}()'
    name = getattr(service, "__name__", "")
    if isinstance(name, str) and name.isidentifier():
        return f'"{name}": {name}'
    kind = type(service)
    if kind.__module__ in ("builtins", "functools"):  # data, a partial, …
        return '"name": …'
    return f'"{kind.__name__}": {kind.__name__}()'
