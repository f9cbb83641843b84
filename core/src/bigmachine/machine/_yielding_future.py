"""Futures that a service's method can wait for without keeping others from running."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any, TypeVar

from ..services._waiting import waiting

T = TypeVar("T")


class YieldingFuture(concurrent.futures.Future[T]):
    """A future that lets other methods run in the place of one that waits for it.

    `concurrent.futures.wait` and ``as_completed`` do so, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiters: list[Any] = _Waiters()

    def result(self, timeout: float | None = None) -> T:
        """Return what the work returned, or raise what it raised."""
        if self.done():
            return super().result()
        with waiting():
            return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the work raised, or None."""
        if self.done():
            return super().exception()
        with waiting():
            return super().exception(timeout)


class _Waiters(list[Any]):
    """The calls of `wait` and ``as_completed`` for a future; each waits for an event of its own."""

    __slots__ = ()

    def append(self, waiter: Any) -> None:
        if type(getattr(waiter, "event", None)) is threading.Event:
            waiter.event = _YieldingEvent()
        super().append(waiter)


class _YieldingEvent(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        if self.is_set():
            return True
        with waiting():
            return super().wait(timeout)
