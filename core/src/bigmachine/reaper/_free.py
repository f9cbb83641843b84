"""How the resources of a session are freed, by the reaper process or `bigmachine reap`."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from ..errors import BigmachineError
from ..system import Instance, System

_TIMEOUT = 300.0  # EC2 takes a minute or two to terminate an instance, Azure some more


def by_kind(resources: Iterable[Instance]) -> list[list[Instance]]:
    """Group what `System.instances` lists by kind, in the order in which kinds can be freed.

    That is the order of the list: what comes later may be in use by what comes first.
    """
    kinds: dict[str, list[Instance]] = {}
    for resource in resources:
        kinds.setdefault(resource.kind, []).append(resource)
    return [*kinds.values()]


async def free(hooks: System, resource: Instance) -> str:
    """Free a resource; return why it can't be freed, or an empty string."""
    try:
        with trio.fail_after(_TIMEOUT):
            await hooks.stop(instance=resource)
    except trio.TooSlowError:
        return f"it isn't gone after {_TIMEOUT:g} s; something may be using it"
    except Exception as exc:
        return reason(exc)
    return ""


def reason(exc: Exception) -> str:
    """Return an error's message, with its type if it is not one of ours."""
    return str(exc) if isinstance(exc, BigmachineError) else f"{type(exc).__name__}: {exc}"
