"""Notices: what a provider tells a machine about its future, passed on to the driver once each."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable

import trio

from .._repeated_event import RepeatedEvent
from .._values import Notice
from ..errors import BigmachineError

logger = logging.getLogger("bigmachine.machine")

_FIRST_PAUSE = 1.0  # after an error
_LONGEST_PAUSE = 60.0  # a notice may come but two minutes before what it is about


class Notices:
    """All that a machine was told, in order; what it is told again counts once.

    The system's ``notices`` hook tells the machine what its provider says, by `hear`; the
    machine tells its driver, which asks for more of them, by `after`.
    """

    def __init__(self) -> None:
        self._told: dict[Notice, None] = {}
        self._is_more = RepeatedEvent()

    async def after(self, count: int) -> list[Notice]:
        """Wait until there are more than ``count``; return the later ones."""
        while len(self._told) <= count:
            await self._is_more.wait()
        return [*self._told][count:]

    async def hear(self, source: Callable[[], AsyncIterator[Notice]]) -> None:
        """Take what ``source`` gives, until it ends; begin anew when it raises."""
        pause, last_error = _FIRST_PAUSE, ""
        while True:
            try:
                async for notice in source():
                    if self._take(notice):
                        pause = _FIRST_PAUSE
                return
            except (Exception, SystemExit) as exc:
                error = f"{type(exc).__name__}: {exc}"
                # At length once: what fails now will go on failing for a while.
                is_new = error != last_error
                logger.log(
                    logging.ERROR if is_new else logging.DEBUG,
                    "the provider's notices can't be followed, and are asked for again: %s",
                    error,
                    exc_info=is_new and not isinstance(exc, BigmachineError),
                )
                last_error = error
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _take(self, notice: Notice) -> bool:
        """Take a notice; return whether it is new."""
        if not isinstance(notice, Notice):
            logger.error("the hook 'notices' gave %r, which is no Notice: left out", notice)
            return False
        if notice in self._told:
            return False
        self._told[notice] = None
        self._is_more.set()
        return True
