"""Freeing what a session has at its provider, by whoever is left to do it."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from ..errors import BigmachineError
from ..system import Instance, System

_TIMEOUT = 300.0  # EC2 takes a minute or two to terminate an instance, Azure some more


def by_kind(things: Iterable[Instance]) -> list[list[Instance]]:
    """Sort what `System.instances` lists by kind, in the order in which kinds can be freed.

    That is the order of the list: what comes later may be in use by what comes first.
    """
    kinds: dict[str, list[Instance]] = {}
    for thing in things:
        kinds.setdefault(thing.kind, []).append(thing)
    return [*kinds.values()]


async def free(hooks: System, thing: Instance) -> str:
    """Free a thing; return why it can't be, or nothing."""
    try:
        with trio.fail_after(_TIMEOUT):
            await hooks.stop(instance=thing)
    except trio.TooSlowError:
        return f"it isn't gone after {_TIMEOUT:g} s; something may be using it"
    except Exception as exc:
        return reason(exc)
    return ""


def reason(exc: Exception) -> str:
    """Say an error in its own words if it is ours, and with its type if it isn't."""
    return str(exc) if isinstance(exc, BigmachineError) else f"{type(exc).__name__}: {exc}"
