"""The pickler: cloudpickle's, which here can also send what scripts define and it can't."""

from __future__ import annotations

import copyreg
from enum import Enum
from types import CellType, FunctionType
from typing import Any

import cloudpickle

from ._by_value import REDUCERS, reduce_singledispatch
from ._classes import reduce_class, spell_out_private_slot
from ._enums import reduce_member
from ._exception_state import reduce_exception
from ._modules import send_by_value_if_not_importable


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Pickles by reference what the other end can import, and everything else by value.

    Beyond cloudpickle's: caches and generic functions of `functools`, `typing.NewType` and its
    kind, context variables, weak references; modules that can't be imported by name, as
    ``__main__`` can't; exceptions whose ``__init__`` takes other arguments than their ``args``;
    code that keeps its file's name; functions that share variables; slots, and members of enums.
    See `_by_value`, `_classes`, `_enums` and `_exception_state`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._empty_cells: dict[int, tuple[CellType, CellType]] = {}

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if issubclass(kind, type):
            send_by_value_if_not_importable(obj)
            spell_out_private_slot(obj)
            return reduce_class(obj, super().reducer_override(obj))
        if kind is FunctionType:
            send_by_value_if_not_importable(obj)
            return reduce_singledispatch(obj, super().reducer_override(obj))
        if issubclass(kind, BaseException):
            return reduce_exception(obj)
        if issubclass(kind, Enum):
            return reduce_member(obj)
        return NotImplemented

    def _function_getnewargs(self, func: FunctionType) -> Any:
        """Replace cloudpickle's, which gives each function cells of its own.

        A function is made with empty cells, which are filled when all is made. Here, functions
        that share a variable share its cell.
        """
        *args, _ = super()._function_getnewargs(func)
        if func.__closure__ is None:
            return *args, None
        return *args, tuple(map(self._empty_cell, func.__closure__))

    def _empty_cell(self, cell: CellType) -> CellType:
        # With the cell, so that no other one gets its id.
        return self._empty_cells.setdefault(id(cell), (cell, CellType()))[1]


class _Reducers(dict[type, Any]):
    """Ours, then cloudpickle's, then those that libraries register, at any time, with copyreg."""

    def __missing__(self, kind: type) -> Any:
        return copyreg.dispatch_table[kind]


Pickler.dispatch_table = _Reducers(cloudpickle.Pickler.dispatch_table.maps[0] | REDUCERS)
