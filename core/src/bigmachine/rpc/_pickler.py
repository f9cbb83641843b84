"""The pickler: cloudpickle's, which here can also send what scripts define and it can't."""

from __future__ import annotations

import copyreg
from types import FunctionType
from typing import Any

import cloudpickle

from ._by_value import REDUCERS, reduce_singledispatch
from ._classes import reduce_class
from ._exception_state import reduce_exception
from ._modules import send_by_value_if_not_importable


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Pickles by reference what the other end can import, and everything else by value.

    Beyond cloudpickle's: caches and generic functions of `functools`, `typing.NewType` and its
    kind, context variables, weak references; modules that can't be imported by name, as
    ``__main__`` can't; exceptions whose ``__init__`` takes other arguments than their ``args``;
    code that keeps its file's name. See `_by_value`, `_classes` and `_exception_state`.
    """

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if issubclass(kind, type):
            send_by_value_if_not_importable(obj)
            return reduce_class(obj, super().reducer_override(obj))
        if kind is FunctionType:
            send_by_value_if_not_importable(obj)
            return reduce_singledispatch(obj, super().reducer_override(obj))
        if issubclass(kind, BaseException):
            return reduce_exception(obj)
        return NotImplemented


class _Reducers(dict[type, Any]):
    """Ours, then cloudpickle's, then those that libraries register, at any time, with copyreg."""

    def __missing__(self, kind: type) -> Any:
        return copyreg.dispatch_table[kind]


Pickler.dispatch_table = _Reducers(cloudpickle.Pickler.dispatch_table.maps[0] | REDUCERS)
