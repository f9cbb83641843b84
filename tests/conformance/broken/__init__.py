"""Backends that are broken on purpose, each with one fault that an author might have made.

Each is a small subclass of a right one, says its fault in its docstring, and names the
clauses of the contract that it breaks: these, and no others, must fail. The modules go by
the contract's sections; they import no pytest, since machines import them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T", bound=type)

MODULES = (
    "offline",
    "starting",
    "machines",
    "wire",
    "ending",
    "orphans",
    "cancelling",
    "tailing",
    "capabilities",
)
PATH = Path(__file__).parent / "path"
"""On the module path of each run: what must be a top-level module to show its fault."""


@dataclass(frozen=True)
class Fault:
    """A broken system, or a suite that is, and what it breaks."""

    name: str
    module: str
    breaks: frozenset[str]
    options: Mapping[str, object] = field(default_factory=dict)
    entry_points: str = ""
    """What a distribution that is installed for the run declares."""
    timeout: float | None = None
    """The timeout of its suite, if the fault itself takes time."""

    def load(self) -> type:
        """Import the class."""
        return getattr(importlib.import_module(self.module), self.name)


FAULTS: dict[str, Fault] = {}


def breaks(
    *clauses: str,
    options: Mapping[str, object] | None = None,
    entry_points: str = "",
    timeout: float | None = None,
):
    """Register a class under the ``clauses`` that it breaks."""

    def register(cls: T) -> T:
        FAULTS[cls.__name__] = Fault(
            cls.__name__, cls.__module__, frozenset(clauses), options or {}, entry_points, timeout
        )
        return cls

    return register


def add(name: str, module: str, *clauses: str) -> None:
    """Register a class that is not to be imported yet."""
    FAULTS[name] = Fault(name, module, frozenset(clauses))


def load_all() -> dict[str, Fault]:
    """Return all faults, by name."""
    for module in MODULES:
        importlib.import_module(f"{__name__}.{module}")
    return FAULTS
