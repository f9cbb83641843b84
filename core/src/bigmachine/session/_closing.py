"""The end of a session is bounded, and says so if something may be left."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import trio

from .._values import Instance, instance_text
from ..system import Capability, System

logger = logging.getLogger("bigmachine.session")

CLOSE_TIMEOUT = 180.0
"""How long each of the two steps may take, in seconds: the machines' end, and the rest."""


async def close_in_time(step: Callable[[], Awaitable[None]], *, late: Callable[[], str]) -> bool:
    """Run one step of closing, whatever is cancelled around it; return whether it got done.

    After `CLOSE_TIMEOUT` it is cancelled and ``late`` is logged: at once, because a request that
    is under way may take its time to notice.
    """
    is_done = False

    async def limit() -> None:
        await trio.sleep(CLOSE_TIMEOUT)
        logger.error("%s", late())
        scope.cancel()

    with trio.CancelScope(shield=True) as scope:
        async with one_error_nursery() as nursery:
            nursery.start_soon(limit)
            await step()
            is_done = True
            nursery.cancel_scope.cancel()
    return is_done


def late_text(session: str, system: System, unconfirmed: Iterable[Instance]) -> str:
    """Say what a session may have left, how to see it and how to free it."""
    what = ", ".join(map(instance_text, unconfirmed))
    text = (
        f"session {session} is not confirmed to be closed after {CLOSE_TIMEOUT:g} s, because its "
        "provider has not answered in time: "
        + (f"{what} may still run" if what else "something of it may be left")
        + (", and cost money" if system.is_billed else "")
    )
    if Capability.INSTANCES in system.capabilities:
        text += (
            f". List what there is with `bigmachine ps {system.name}`, and free it with "
            f"`bigmachine reap {system.name} {session}`"
        )
    else:
        text += ". Look for it at the provider, and free it there"
    if system.uses_reaper:
        text += ". The reaper beside this program tries to free it, too, when the program ends"
    return text


@contextlib.asynccontextmanager
async def one_error_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery that raises a single error as itself, not in a group."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from group.exceptions[0].__cause__
        raise
