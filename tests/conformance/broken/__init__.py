"""Backends that are broken on purpose, each with one fault that an author might have made.

Each is a small subclass of a correct backend. Its docstring says the fault in one sentence, and
its decorator names the clauses of the contract that it breaks: these, and no others, must fail,
and each for the reason that is given, in words of the kit's message.
The modules follow the contract's sections. They import no pytest, since machines import them.
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
    "recovering",
    "surroundings",
    "machines",
    "wire",
    "ending",
    "apart",
    "growing",
    "orphans",
    "cancelling",
    "tailing",
    "capabilities",
)
PATH = Path(__file__).parent / "path"
"""On the module path of each run: modules that must be top-level ones to show their fault."""


@dataclass(frozen=True)
class Fault:
    """A broken system or suite, and the clauses that it breaks."""

    name: str
    module: str
    reasons: Mapping[str, str]
    """Why each clause that it breaks fails: a part of the kit's message."""
    options: Mapping[str, object] = field(default_factory=dict)
    entry_points: str = ""
    """The entry points of a distribution that is installed for the run."""
    timeout: float | None = None
    """The timeout of its suite, if the fault itself takes time."""

    @property
    def breaks(self) -> frozenset[str]:
        """The clauses that it breaks."""
        return frozenset(self.reasons)

    def load(self) -> type:
        """Import the class."""
        return getattr(importlib.import_module(self.module), self.name)


FAULTS: dict[str, Fault] = {}


def breaks(
    reasons: Mapping[str, str],
    *,
    options: Mapping[str, object] | None = None,
    entry_points: str = "",
    timeout: float | None = None,
):
    """Register a class under the clauses that it breaks, with the ``reasons`` of their failure."""

    def register(cls: T) -> T:
        FAULTS[cls.__name__] = Fault(
            cls.__name__, cls.__module__, reasons, options or {}, entry_points, timeout
        )
        return cls

    return register


def add(name: str, module: str, reasons: Mapping[str, str]) -> None:
    """Register a class that must not be imported yet."""
    FAULTS[name] = Fault(name, module, reasons)


def load_all() -> dict[str, Fault]:
    """Return all faults, by name."""
    for module in MODULES:
        importlib.import_module(f"{__name__}.{module}")
    return FAULTS
