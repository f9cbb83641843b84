"""What a process has, counted: so that what grows with each session or machine is seen."""

from __future__ import annotations

import collections.abc
import gc
import inspect
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sized
from types import FunctionType, ModuleType
from typing import Any

from bigmachine.system import System

from ._processes import HostProcess, children

_DEPTH = 3  # of containers in containers


class Inventory:
    """Counts what this process, and the backend's helper processes, have."""

    def __init__(self, system: type[System]) -> None:
        self._packages = {_package(cls) for cls in system.__mro__[: _own(system)]}

    def count(self, *, helpers: list[HostProcess], files: int, leftovers: int) -> Counter[str]:
        """Count everything; ``helpers`` are the processes that serve no single machine."""
        gc.collect()
        counts = Counter(
            {
                # trio keeps its own for some seconds.
                "threads of the driver": sum(
                    not t.name.startswith("Trio") for t in threading.enumerate()
                ),
                "child processes of the driver": len(children()),
                "open descriptors of the driver": _descriptors(),
                "temporary files": files,
                "resources at the provider": leftovers,
                "helper processes": len(helpers),
                "open descriptors of helper processes": sum(len(p.descriptors) for p in helpers),
                "threads of helper processes": sum(p.threads for p in helpers),
            }
        )
        for module in list(sys.modules.values()):
            if _in(self._packages, getattr(module, "__name__", "")):
                counts.update(_entries_in(module))
        names: dict[type, str] = {}  # of the kinds that are ours: there are many objects
        for each in gc.get_objects():
            kind = type(each)
            if kind is FunctionType:
                if _in(self._packages, each.__module__):
                    counts[f"functions {each.__module__}.{each.__qualname__}"] += 1
                continue
            if (name := names.get(kind)) is None:
                is_ours = _in(self._packages, kind.__module__)
                name = names[kind] = (
                    f"objects of {kind.__module__}.{kind.__qualname__}" if is_ours else ""
                )
            if name:
                counts[name] += 1
        return counts


def _own(system: type[System]) -> int:
    return system.__mro__.index(System)


def _package(cls: type) -> str:
    return cls.__module__.rpartition(".")[0] or cls.__module__


def _in(packages: set[str], module: object) -> bool:
    return isinstance(module, str) and (
        module in packages or any(module.startswith(f"{package}.") for package in packages)
    )


def _descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def _entries_in(module: ModuleType) -> Iterator[str]:
    """Yield the name of each container of a module, or of a class in it, once for each entry."""
    for name, value in list(vars(module).items()):
        yield from _entries(f"{module.__name__}.{name}", value)
        if inspect.isclass(value) and value.__module__ == module.__name__:
            for inner, attribute in list(vars(value).items()):
                yield from _entries(f"{module.__name__}.{name}.{inner}", attribute)


def _entries(name: str, value: Any, depth: int = _DEPTH) -> Iterator[str]:
    info = getattr(value, "cache_info", None) if callable(value) else None
    if info is not None and not inspect.isclass(value) and not _is_imported(name, value):
        yield from [f"cached results of {name}"] * info().currsize
    if name.rpartition(".")[2].startswith("__") or not _is_container(value):
        return
    yield from [f"entries in {name}"] * len(value)
    inside = value.values() if isinstance(value, collections.abc.Mapping) else value
    for each in list(inside) if depth else ():
        yield from _entries(name, each, depth - 1)


def _is_imported(name: str, value: Any) -> bool:
    """Whether this is another module's function, such as a cached one of the standard library."""
    home = str(getattr(value, "__module__", ""))
    is_elsewhere = not name.startswith(f"{home}.")
    own_name = str(getattr(value, "__name__", ""))
    return is_elsewhere and getattr(sys.modules.get(home), own_name, None) is value


def _is_container(value: object) -> bool:
    return (
        isinstance(value, collections.abc.Collection)
        and isinstance(value, Sized)
        and not isinstance(value, str | bytes | bytearray | memoryview | type | range)
    )
