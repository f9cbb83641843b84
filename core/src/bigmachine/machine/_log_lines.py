"""Reading what machines print and log in a thread, while the session's loop goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .._values import LogLine
from ..services._tracebacks import short_tracebacks

if TYPE_CHECKING:
    from ..logs._kept import AsyncLogReader


@short_tracebacks
class LogLines:
    """Yields what a reader reads; ``run`` runs a function in its loop, and waits for it.

    Once the session's loop has ended, it yields what is kept.
    """

    def __init__(self, reader: AsyncLogReader, *, run: Callable[..., Any]) -> None:
        self._lines = _read_lines(reader, run)

    def __iter__(self) -> Iterator[LogLine]:
        return self

    def __next__(self) -> LogLine:
        return next(self._lines)


def _read_lines(reader: AsyncLogReader, run: Callable[..., Any]) -> Iterator[LogLine]:
    from .calls._future import LoopEnded

    while True:
        try:
            lines: list[LogLine] = run(reader.receive)
        except StopAsyncIteration:
            return
        except LoopEnded:
            yield from reader.take()
            return
        yield from lines
