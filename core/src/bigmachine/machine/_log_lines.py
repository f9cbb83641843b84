"""Reading what machines print and log in a thread, while the session's loop goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .._values import LogLine

if TYPE_CHECKING:
    from ..logs._kept import AsyncLogReader


def read_lines(reader: AsyncLogReader, *, run: Callable[..., Any]) -> Iterator[LogLine]:
    """Yield what the reader reads; ``run`` runs a function in its loop, and waits for it.

    Once the session's loop has ended, it yields what is kept.
    """
    from ._future import LoopEnded

    while True:
        try:
            lines: list[LogLine] = run(reader.receive)
        except StopAsyncIteration:
            return
        except LoopEnded:
            yield from reader.take()
            return
        yield from lines
