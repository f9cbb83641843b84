"""Futures that a service's method can wait for without keeping others from running."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Sequence
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import Any, TypeVar

from ...services._waiting import waiting

T = TypeVar("T")

_CANCELLED = frozenset({CANCELLED, CANCELLED_AND_NOTIFIED})
_DONE = _CANCELLED | {FINISHED}


class YieldingFuture(concurrent.futures.Future[T]):
    """A future that lets other methods run in the place of one that waits for it.

    `concurrent.futures.wait` and ``as_completed`` do so, too. It has what the functions there
    need of a future, but takes a tenth of the memory: there may be 100,000.
    """

    # What a new one has of what `Future.__init__` sets, which is therefore not called.
    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _done_callbacks: Sequence[Any] = ()

    _calls_of_wait: _Waiters | None = None  # from the first on

    def __init__(self) -> None:
        self._condition: Any = _Condition()

    @property
    def is_cancelled(self) -> bool:
        """Whether it was cancelled, found out without its lock."""
        return self._state in _CANCELLED

    def result(self, timeout: float | None = None) -> T:
        """Return what the work returned, or raise what it raised."""
        if self._state != FINISHED:
            self._wait(timeout)
        error = self._exception
        if error is None:  # one whose bool() is False counts
            return self._result  # type: ignore[no-any-return]
        self.note_asked()
        try:
            raise error
        finally:
            del error, self  # the traceback refers to this frame

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the work raised, or None."""
        if self._state != FINISHED:
            self._wait(timeout)
        if self._exception is not None:
            self.note_asked()
        return self._exception

    def note_failed(self, error: BaseException) -> None:
        """Take note of what the work has raised, before anybody can ask for it."""

    def note_asked(self) -> None:
        """Take note that somebody asks for what the work has raised."""

    def add_done_callback(self, fn: Any) -> None:
        """Call ``fn`` with the future when it is done."""
        with self._condition:
            if not self._done_callbacks:
                self._done_callbacks = []
        super().add_done_callback(fn)

    def finish(self, result: Any, exception: BaseException | None) -> bool:
        """Set what came of the work, in any thread; False if it was cancelled, or is done."""
        with self._condition:
            if self._state in _DONE:
                return False
            if exception is not None:
                self.note_failed(exception)
            self._result, self._exception = result, exception
            self._state = FINISHED
            for waiter in self._calls_of_wait or ():
                if exception is None:
                    waiter.add_result(self)
                else:
                    waiter.add_exception(self)
            self._condition.notify_all()
        if self._done_callbacks:
            self._invoke_callbacks()  # type: ignore[attr-defined]
        return True

    def _wait(self, timeout: float | None) -> None:
        """Wait until it is done; raise what the wait ends with, if not with an outcome."""
        if self._state not in _DONE:
            # Without its lock: Ctrl-C might come when a wait has released that, as the end of a
            # block would then do again. Who is not notified sees that it is done.
            with waiting():
                sleeper = self._condition.new_sleeper()
                try:
                    if self._state not in _DONE:
                        sleeper.acquire(timeout=-1 if timeout is None else max(timeout, 0.0))
                finally:
                    self._condition.forget(sleeper)
        if self._state in _CANCELLED:
            raise concurrent.futures.CancelledError
        if self._state != FINISHED:
            raise TimeoutError

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        if self._calls_of_wait is None:
            self._calls_of_wait = _Waiters()
        return self._calls_of_wait


class _Condition(type(threading.RLock())):  # type: ignore[misc]
    """What a future needs of `threading.Condition`: a reentrant lock, and those who wait.

    To make a `threading.Condition` takes as long as to pickle a call, and ten times the memory.
    """

    _sleepers: Any = ()  # a list, from the first on

    def new_sleeper(self) -> Any:
        """Return a lock that is taken, and that `notify_all` releases."""
        sleeper = threading.Lock()
        sleeper.acquire()
        # In one step, as a signal handler may wait for the same future at any moment.
        self.__dict__.setdefault("_sleepers", []).append(sleeper)
        return sleeper

    def forget(self, sleeper: Any) -> None:
        """Release it no more."""
        with contextlib.suppress(ValueError):  # it was notified
            self._sleepers.remove(sleeper)

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, which is held, until `notify_all` or ``timeout``; for others' code."""
        sleeper = self.new_sleeper()
        held = self._release_save()
        try:
            return bool(sleeper.acquire(timeout=-1 if timeout is None else timeout))
        finally:
            self._acquire_restore(held)
            self.forget(sleeper)

    def notify_all(self) -> None:
        """Wake all that wait; the lock is held."""
        with contextlib.suppress(IndexError):  # one may cease to wait at any moment
            while self._sleepers:
                self._sleepers.pop().release()


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
