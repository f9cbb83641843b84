"""Old code that calls ``pdb.set_trace()`` in place of ``breakpoint()``: it gets the same debugger.

pdb is not imported for that, since few processes ever need it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def replace_set_trace(function: Callable[..., Any]) -> None:
    """Have `pdb.set_trace` be this function, now or when pdb is imported."""
    if "pdb" in sys.modules:
        sys.modules["pdb"].set_trace = function  # type: ignore[attr-defined]
    else:
        sys.meta_path.insert(0, _PdbFinder(function))


class _PdbFinder:  # without a base: `importlib.abc` takes milliseconds to import
    """Finds pdb where it always is, and replaces its function once it is imported."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "pdb":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("pdb")
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                module.set_trace = self._function  # type: ignore[attr-defined]

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
