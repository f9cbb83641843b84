"""For tests: of programs that use machines, and of backends that bring them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .in_process._system import InProcessOptions as InProcessOptions
    from .in_process._system import InProcessSystem as InProcessSystem

__all__ = ["InProcessOptions", "InProcessSystem"]


def __getattr__(name: str) -> Any:
    # Late: machines import the kit's probe from this package, and need none of these.
    if name in __all__:
        from .in_process import _system

        return getattr(_system, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
