"""The notices that a provider gives a machine; each is passed on to the driver once."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Callable

import trio

from .._backoff import backoff
from .._repeated_event import RepeatedEvent
from .._values import Notice
from ..errors import BigmachineError

logger = logging.getLogger("bigmachine.machine")

# After an error. A notice may come only two minutes before what it announces.
_pauses = functools.partial(backoff, first=1.0, longest=60.0)


class Notices:
    """All notices that a machine was given, in order; equal ones count once.

    `follow` takes them from the system's ``notices`` hook, and the driver asks for them by
    `after`.
    """

    def __init__(self) -> None:
        self._notices: dict[Notice, None] = {}
        self._is_more = RepeatedEvent()

    async def after(self, count: int) -> list[Notice]:
        """Wait until there are more than ``count``; return the later ones."""
        while len(self._notices) <= count:
            await self._is_more.wait()
        return [*self._notices][count:]

    async def follow(self, source: Callable[[], AsyncIterator[Notice]]) -> None:
        """Take what ``source`` yields, until it ends; start again when it raises."""
        pauses, last_error = _pauses(), ""
        while True:
            try:
                async for notice in source():
                    if self._take(notice):
                        pauses = _pauses()
                return
            except (Exception, SystemExit) as exc:
                error = f"{type(exc).__name__}: {exc}"
                # With its traceback only once: it will probably go on failing for a while.
                is_new = error != last_error
                logger.log(
                    logging.ERROR if is_new else logging.DEBUG,
                    "following the provider's notices failed, and is tried again: %s",
                    error,
                    exc_info=is_new and not isinstance(exc, BigmachineError),
                )
                last_error = error
            await trio.sleep(next(pauses))

    def _take(self, notice: Notice) -> bool:
        """Take a notice; return whether it is new."""
        if not isinstance(notice, Notice):
            logger.error("the hook 'notices' yielded %r, which is not a Notice: ignored", notice)
            return False
        if notice in self._notices:
            return False
        self._notices[notice] = None
        self._is_more.set()
        return True
