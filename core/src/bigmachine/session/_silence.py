"""Machines that fall silent: perhaps the driver has moved, and its system must let it in again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import trio

from .._backoff import backoff
from .._repeated_event import RepeatedEvent
from .._values import Instance

logger = logging.getLogger("bigmachine.session")

# A machine that is not asked ends itself after two minutes, by default. Its driver may notice
# halfway, and then tries five times; a thousand silent machines are no reason to try more often.
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 60.0
_TIMEOUT = 60.0


class Silence:
    """The machines of a session that are silent. While there are any, calls ``restore``.

    It does so at once, and then at growing intervals. `watch` is the task that does it.
    """

    def __init__(self, restore: Callable[[Sequence[Instance]], Awaitable[None]]) -> None:
        self._restore = restore
        self._silent: dict[str, Instance] = {}
        self._changed = RepeatedEvent()

    def set(self, instance: Instance, is_silent: bool) -> None:
        """Take note that a machine is silent, or no longer."""
        if not is_silent:
            self._silent.pop(instance.name, None)
        elif instance.name not in self._silent:
            self._silent[instance.name] = instance
            self._changed.set()

    async def watch(self) -> None:
        """Restore the way to silent machines until cancelled."""
        while True:
            while not self._silent:
                await self._changed.wait()
            for pause in backoff(first=_FIRST_PAUSE, longest=_LONGEST_PAUSE):
                await self._restore_once()
                await trio.sleep(pause)
                if not self._silent:
                    break

    async def _restore_once(self) -> None:
        try:
            with trio.move_on_after(_TIMEOUT):
                await self._restore([*self._silent.values()])
        except Exception:
            logger.exception("machines are silent, and the way to them could not be restored")
