"""Modules that no other process can import by name: what they define is sent by value.

``__main__`` is one, and cloudpickle knows it. Others are ``__mp_main__`` (the script, in a child
of multiprocessing), modules that were loaded from a file or made by ``exec``, as by pytest's
``--import-mode=importlib`` or `runpy.run_path`, and modules whose file is gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from importlib.machinery import ModuleSpec, NamespaceLoader
from types import ModuleType
from typing import Any

import cloudpickle

_STDLIB = os.path.dirname(os.__file__) + os.sep
_SITE = re.compile(r"[\\/](?:site|dist)-packages[\\/]")

# By name, with the module that was looked at: it may be replaced, as when it is imported again.
_importable: dict[str, tuple[ModuleType, bool]] = {}


def send_by_value_if_not_importable(obj: Any) -> None:
    """Have cloudpickle send the module of a class or function by value, if that is necessary."""
    name = getattr(obj, "__module__", None)
    if isinstance(name, str) and name != "__main__" and not is_importable(name):
        cloudpickle.register_pickle_by_value(sys.modules[name])


def is_importable(name: str) -> bool:
    """Whether another process with the same import path gets the module ``name`` by import.

    True also of modules that are not loaded here: it is for others to find out.
    """
    module = sys.modules.get(name)
    if name == "__main__" or type(module) is not ModuleType:
        return name != "__main__"  # lazy modules, and other objects that libraries put there
    known = _importable.get(name)
    if known is None or known[0] is not module:
        known = _importable[name] = module, _is_found(name, module)
    return known[1]


def is_being_imported(name: str) -> bool:
    """Whether an import of a module is not complete, and other processes would import it, too."""
    spec = getattr(sys.modules.get(str(name)), "__spec__", None)
    return bool(getattr(spec, "_initializing", False)) and is_importable(name)


def is_found_by_name(obj: Any, name: str) -> bool:
    """Whether the other end gets ``obj`` by importing its module and looking up ``name`` there."""
    module = getattr(obj, "__module__", None)
    if not isinstance(module, str) or module == "__main__" or not is_importable(module):
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is obj


def _is_found(name: str, module: ModuleType) -> bool:
    if module.__name__ != name:  # an alias, such as collections.abc or os.path
        return True
    file = str(getattr(module, "__file__", None) or "")
    if file.startswith(_STDLIB) or _SITE.search(file):
        return True  # whatever it says of its name: collections.abc has another file since 3.13
    is_folder = isinstance(getattr(module, "__loader__", None), NamespaceLoader)
    if "__builtins__" not in vars(module) and not is_folder:  # Python code has them
        return True  # an extension, or part of one
    spec = _spec(name)
    if is_folder:
        folders = (spec.submodule_search_locations if spec is not None else None) or ()
        return not {*map(os.path.realpath, folders)}.isdisjoint(
            map(os.path.realpath, module.__path__)
        )
    if spec is None:
        return False
    if not spec.has_location or spec.origin is None:  # it is frozen
        return True
    # Otherwise another file is found by its name.
    return file.endswith(".pyc") or os.path.realpath(spec.origin) == os.path.realpath(file)


def _spec(name: str) -> ModuleSpec | None:
    """Find a module as an import would that has not loaded it yet."""
    parent = name.rpartition(".")[0]
    path = None
    if parent:
        if not is_importable(parent):
            return None
        path = getattr(sys.modules.get(parent), "__path__", None)
        if path is None and (spec := _spec(parent)) is not None:
            path = spec.submodule_search_locations
        if path is None:
            return None
    for finder in sys.meta_path:
        with contextlib.suppress(Exception):  # a foreign finder's faults are not ours to report
            if (spec := finder.find_spec(name, path)) is not None:
                return spec
    return None
