"""For tests: of programs that use machines, and of backends that bring them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._in_process import InProcessOptions as InProcessOptions
    from ._in_process import InProcessSystem as InProcessSystem

# The same names again, for when the program runs: each module is imported when one of
# its names is first used, as in `bigmachine` itself.
_HOMES = {
    "_in_process": "InProcessOptions InProcessSystem",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        from importlib import import_module

        value = getattr(import_module("." + _HOME_OF[name], __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
