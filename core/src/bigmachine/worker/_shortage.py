"""Notices that a machine has used nearly all of its host's memory."""

from __future__ import annotations

import contextlib

import trio

from .._repeated_event import RepeatedEvent
from . import _resources

UNHEALTHY_MEMORY = 0.95
"""A machine that uses this much of its host's memory is about to be killed for it."""


class Shortage:
    """Tells when memory becomes short. It belongs to the loop that it was made in."""

    def __init__(self) -> None:
        self._begins = RepeatedEvent()
        self._is_short = False
        self._token = trio.lowlevel.current_trio_token()

    def check(self) -> None:
        """End `wait` if nearly all memory is used, and was not before; in any thread."""
        with contextlib.suppress(OSError, ValueError, trio.RunFinishedError):
            is_short = _resources.memory().used_fraction >= UNHEALTHY_MEMORY
            if is_short and not self._is_short:
                self._token.run_sync_soon(self._begins.set)
            self._is_short = is_short

    async def wait(self) -> None:
        """Wait until nearly all memory is used."""
        await self._begins.wait()
