"""Reducers: how objects that cloudpickle can't send, or not as they are, are made again.

Each takes an object and returns what ``__reduce__`` would: a name, or a function with its
arguments and the state to set afterwards. What refers to itself is in the state.
"""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import marshal
import os
import sys
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle

from ._modules import is_found_by_name, is_importable
from ._once import reduce_once

_CLOUDPICKLES = cloudpickle.Pickler.dispatch_table


# -- functools -----------------------------------------------------------------


def _reduce_cached_function(cached: Any) -> Any:
    """An `lru_cache` or `cache`: it starts empty at the other end."""
    name = getattr(cached, "__qualname__", "")  # a cached partial has none
    if is_found_by_name(cached, name):
        return name
    function, parameters = cached.__wrapped__, cached.cache_parameters()
    arguments = function, parameters["maxsize"], parameters["typed"]
    return _make_cached_function, arguments, _added_attributes(cached)


def _make_cached_function(function: Any, maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(function)


def _reduce_cached_property(value: functools.cached_property[Any]) -> Any:
    state = {name: attribute for name, attribute in vars(value).items() if name != "lock"}
    return functools.cached_property, (value.func,), state


# All functions that singledispatch returns share their code.
_SINGLEDISPATCH_CODE = typing.cast(Any, functools.singledispatch(lambda value: None)).__code__


def reduce_singledispatch(function: Any, reduced: Any) -> Any:
    """Replace what cloudpickle says of a function, if it is a generic one of `singledispatch`.

    Its cache can't be pickled: it starts empty at the other end.
    """
    if reduced is NotImplemented or function.__code__ is not _SINGLEDISPATCH_CODE:
        return reduced
    state = dict(function.registry), _added_attributes(function)
    return functools.singledispatch, (function.__wrapped__,), state, None, None, _set_dispatch


def _set_dispatch(function: Any, state: tuple[dict[type, Any], dict[str, Any]]) -> None:
    implementations, attributes = state
    for kind, implementation in implementations.items():
        function.register(kind, implementation)
    vars(function).update(attributes)


_WRAPPERS_OWN = frozenset({"__wrapped__", "register", "dispatch", "registry", "_clear_cache"})


def _added_attributes(wrapper: Any) -> dict[str, Any]:
    """Return the attributes of a wrapper that it has not by being one."""
    return {
        name: value
        for name, value in vars(wrapper).items()
        if name not in _WRAPPERS_OWN and getattr(wrapper.__wrapped__, name, None) is not value
    }


# -- typing --------------------------------------------------------------------


def _reduce_new_type(new_type: Any) -> Any:
    name = new_type.__qualname__
    if is_found_by_name(new_type, name):
        return name
    arguments = name, new_type.__supertype__, new_type.__module__
    return reduce_once(new_type, _make_new_type, *arguments)


def _make_new_type(name: str, supertype: Any, module: str) -> Any:
    new_type: Any = typing.NewType(name, supertype)  # type: ignore[misc]
    new_type.__module__ = module
    return new_type


def _reduce_type_parameter(parameter: Any) -> Any:
    """A ParamSpec or TypeVarTuple; cloudpickle knows the TypeVar."""
    name = parameter.__name__
    if is_found_by_name(parameter, name):
        return name
    return reduce_once(parameter, type(parameter), name)


def _reduce_type_alias(alias: Any) -> Any:
    """An alias made by a ``type`` statement, since Python 3.12."""
    if is_found_by_name(alias, alias.__name__):
        return alias.__name__
    if alias.__type_params__:
        return _make_generic_alias, (alias.__name__, alias.__value__, alias.__type_params__)
    value: list[Any] = []  # empty at first, because the alias may refer to itself
    state = value, alias.__value__
    return _make_type_alias, (alias.__name__, value), state, None, None, _set_type_alias


def _make_generic_alias(name: str, value: Any, parameters: tuple[Any, ...]) -> Any:
    return typing.TypeAliasType(name, value, type_params=parameters)  # type: ignore[attr-defined]


def _make_type_alias(name: str, value: list[Any]) -> Any:
    namespace: dict[str, Any] = {"value": value}
    exec(f"type {name} = value[0]", namespace)  # evaluated when it is first used
    return namespace[name]


def _set_type_alias(alias: object, state: tuple[list[Any], Any]) -> None:
    value, content = state
    value.append(content)


# -- methods -------------------------------------------------------------------


def _reduce_method(method: Any) -> Any:
    """A bound method; by name, if it is a function of a module to those who import it.

    `random.random` and its like are methods of one hidden object. Sent by value, they would give
    each machine the same random numbers.
    """
    owner, name = method.__self__, getattr(method, "__name__", "")
    if isinstance(owner, types.ModuleType) or owner is None:  # a built-in function
        return method.__reduce__()
    module = getattr(owner if isinstance(owner, type) else type(owner), "__module__", "")
    if is_importable(module):
        if _is_attribute(sys.modules.get(module), name, method):
            return getattr, (sys.modules[module], name)
        if isinstance(owner, type) and _is_attribute(owner, name, method):
            return getattr, (owner, name)  # a class method: its function has no name of its own
    if type(method) is types.MethodType:
        return _CLOUDPICKLES[types.MethodType](method)
    return method.__reduce__()


def _is_attribute(owner: object, name: str, method: Any) -> bool:
    attribute = getattr(owner, name, None)
    return type(attribute) is type(method) and bool(attribute == method)


# -- references ----------------------------------------------------------------


def _reduce_reference(reference: weakref.ref[Any]) -> Any:
    """A weak reference: as at this end, its target lives as long as something else holds it."""
    target = reference()
    if target is None:
        return _make_dead_reference, ()
    return weakref.ref, (target,)


def _make_dead_reference() -> weakref.ref[Any]:
    class Target:
        pass

    return weakref.ref(Target())


def _reduce_weak_dictionary(dictionary: Any) -> Any:
    return type(dictionary), (), None, None, iter(list(dictionary.items()))


# -- others --------------------------------------------------------------------


def _reduce_code(code: types.CodeType) -> Any:
    """Code with the name of its file, for tracebacks; it is a fifth of cloudpickle's work, too."""
    try:
        return marshal.loads, (marshal.dumps(code),)
    except ValueError:  # somebody has put other constants than the compiler's into it
        return _CLOUDPICKLES[types.CodeType](code)


def _reduce_context_variable(variable: contextvars.ContextVar[Any]) -> Any:
    """A context variable: with its default, and without the values that it has in contexts."""
    try:
        default = [contextvars.Context().run(variable.get)]
    except LookupError:
        default = []
    return reduce_once(variable, _make_context_variable, variable.name, default)


def _make_context_variable(name: str, default: list[Any]) -> contextvars.ContextVar[Any]:
    if not default:
        return contextvars.ContextVar(name)
    return contextvars.ContextVar(name, default=default[0])


def _by_name(name: str) -> Callable[[Any], str]:
    """Return a reducer for the one object of its kind, which its module has as ``name``."""
    return lambda obj: name


def _reduce_environ(environ: Any) -> Any:
    """The variables of the other end, not a copy of this process's with all their secrets."""
    return getattr, (os, "environ" if environ is os.environ else "environb")


REDUCERS: dict[type, Callable[[Any], Any]] = {
    type(functools.cache(lambda: None)): _reduce_cached_function,
    functools.cached_property: _reduce_cached_property,
    typing.NewType: _reduce_new_type,
    typing.ParamSpec: _reduce_type_parameter,
    typing.TypeVarTuple: _reduce_type_parameter,
    types.MethodType: _reduce_method,
    types.BuiltinMethodType: _reduce_method,
    weakref.ref: _reduce_reference,
    weakref.WeakKeyDictionary: _reduce_weak_dictionary,
    weakref.WeakValueDictionary: _reduce_weak_dictionary,
    types.CodeType: _reduce_code,
    contextvars.ContextVar: _reduce_context_variable,
    type(os.environ): _reduce_environ,
    # Compared by identity, so the other end has to find its own.
    type(dataclasses.MISSING): _by_name("MISSING"),
    type(dataclasses.KW_ONLY): _by_name("KW_ONLY"),
}
if sys.version_info >= (3, 12):
    REDUCERS[typing.TypeAliasType] = _reduce_type_alias
