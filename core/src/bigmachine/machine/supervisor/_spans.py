"""The spans of the traces of one machine, on their way to the observers on its driver."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from ...errors import BigmachineError, NotSupportedError
from ...rpc import Connection
from ._client import supervisor

logger = logging.getLogger("bigmachine.machine")

_CATCH_UP_SECONDS = 2.0  # a machine that hangs, or can't be reached, doesn't answer

Spans = Sequence[Mapping[str, Any]]


class ReceivedSpans:
    """Asks a machine for the spans that have ended there, and gives them to ``take``."""

    def __init__(self, name: str, *, take: Callable[[str, Spans], None]) -> None:
        self._name = name
        self._take = take
        self._taken = 0

    async def ask(self, connection: Connection) -> None:
        """Wait for spans that are new, and take them."""
        try:
            self._receive(*await supervisor(connection).spans(self._taken))
        except NotSupportedError as exc:
            logger.warning("%s: its traces are missing: %s", self._name, exc)
            await trio.sleep_forever()

    async def catch_up(self, connection: Connection) -> None:
        """Take all that have ended by now, as far as the machine answers in time."""
        with trio.move_on_after(_CATCH_UP_SECONDS), contextlib.suppress(BigmachineError):
            while True:
                before = self._taken
                self._receive(*await supervisor(connection).spans(before, waits=False))
                if self._taken == before:
                    return

    def _receive(self, first: int, spans: Spans) -> None:
        if first > self._taken:
            logger.warning(
                "%s: %d spans of its traces are lost: they ended faster than they could be sent",
                self._name,
                first - self._taken,
            )
        new = spans[max(self._taken - first, 0) :]  # the rest came by another call
        self._taken = max(self._taken, first + len(spans))
        if new:
            self._take(self._name, new)
