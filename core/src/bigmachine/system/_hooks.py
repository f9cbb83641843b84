"""The hooks of `System`: their names, their arguments, and who implements them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import FunctionType, ModuleType

from ._system import System

HOOKS: dict[str, FunctionType] = {
    name: value for name, value in vars(System).items() if hasattr(value, "bigmachine_spec")
}
OBSERVED = ("event", "call_started", "call_ended", "spans")
"""The hooks that go to each plugin that has them; the others are of the session's system alone."""


def hook_arguments(hook: str) -> Sequence[str]:
    """Return the names of a hook's arguments."""
    return list(inspect.signature(HOOKS[hook]).parameters)[1:]


def is_async(hook: str) -> bool:
    """Return whether a hook is an ``async def``; an async generator is not."""
    return inspect.iscoroutinefunction(HOOKS[hook])


def overrides(system: System, hook: str) -> bool:
    """Return whether the class of ``system`` overrides a hook."""
    return inspect.getattr_static(system, hook) is not HOOKS[hook]


def label(plugin: object) -> str:
    """Return a plugin's name for messages."""
    if isinstance(plugin, ModuleType):
        return f"module {plugin.__name__}"
    cls = plugin if isinstance(plugin, type) else type(plugin)
    name = f"{cls.__module__}.{cls.__qualname__}"
    return f"system {plugin.name!r} ({name})" if isinstance(plugin, System) else name
