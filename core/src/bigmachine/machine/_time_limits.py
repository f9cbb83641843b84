"""The time limits of a session's calls, which stand still while somebody debugs its machines."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import trio

from ..rpc import Connection, TaskPool

if TYPE_CHECKING:
    from ..rpc._tasks import Job

# Tasks that stay for the next call of the same timeout. A program may compute each timeout anew,
# from one deadline: then the task of a timeout ends with its last call.
_KEPT_TASKS = 16


class TimeLimits:
    """A clock that can be paused, and the cancel scopes that go by it."""

    def __init__(self) -> None:
        self._clock: trio.abc.Clock | None = None
        self._pauses = 0
        self._paused_at = 0.0
        self._paused_for = 0.0
        self._deadlines: dict[trio.CancelScope, float] = {}
        self._limited: dict[float, _Limits] = {}  # by timeout

    def begin(self) -> None:
        """Go by the clock of this trio loop."""
        self._clock = trio.lowlevel.current_clock()

    def time(self) -> float:
        """Return the time of this clock, in seconds; after `begin` in any thread."""
        clock = self._clock or trio.lowlevel.current_clock()
        now = self._paused_at if self._pauses else clock.current_time()
        return now - self._paused_for

    @contextlib.contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """Cancel the block at a time of this clock; what follows the block then runs."""
        with trio.CancelScope() as scope:
            self._deadlines[scope] = deadline
            self._set(scope)
            try:
                yield
            finally:
                del self._deadlines[scope]

    def limit(self, call: Limited, timeout: float, *, tasks: TaskPool) -> None:
        """Let ``call`` expire after ``timeout``, unless `lift` is called before.

        All with the same timeout share one of the ``tasks``; RuntimeError if these have ended.
        """
        limits = self._limited.get(timeout)
        if limits is None:
            limits = _Limits()
            limits.job = tasks.start(functools.partial(self._watch, timeout, limits))
            self._limited[timeout] = limits
        limits.calls[call] = self.time() + timeout

    def lift(self, call: Limited, timeout: float) -> None:
        """Forget a call that has ended."""
        if (limits := self._limited.get(timeout)) is None:
            return
        limits.calls.pop(call, None)
        if not limits.calls and len(self._limited) > _KEPT_TASKS and limits.job is not None:
            del self._limited[timeout]  # the next call needs another task: this one ends
            limits.job.cancel()

    async def _watch(self, timeout: float, limits: _Limits) -> None:
        calls = limits.calls
        try:
            while calls:
                earliest = next(iter(calls.values()))
                with self.until(earliest):
                    await trio.sleep_forever()
                now = max(self.time(), earliest)  # rounding must not keep it from expiring
                while calls and next(iter(calls.values())) <= now:
                    call = next(iter(calls))
                    del calls[call]
                    call.expire()
        finally:
            if self._limited.get(timeout) is limits:
                del self._limited[timeout]

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have the clock stand still during the block."""
        if not self._pauses:
            self._paused_at = trio.current_time()
        self._pauses += 1
        self._set_all()
        try:
            yield
        finally:
            if self._pauses == 1:  # first, for another thread may look meanwhile
                self._paused_for += trio.current_time() - self._paused_at
            self._pauses -= 1
            self._set_all()

    def _set_all(self) -> None:
        for scope in self._deadlines:
            self._set(scope)

    def _set(self, scope: trio.CancelScope) -> None:
        is_paused = self._pauses > 0
        scope.deadline = math.inf if is_paused else self._deadlines[scope] + self._paused_for


class _Limits:
    """The calls with one timeout, in the order of their deadlines, and what waits for these."""

    def __init__(self) -> None:
        self.calls: dict[Limited, float] = {}
        self.job: Job | None = None


class Limited(Protocol):
    """A call that no task waits for."""

    def expire(self) -> None:
        """End it: its time is over."""


class Debugger(Protocol):
    """Debugs the methods of a session's machines."""

    time_limits: TimeLimits

    async def follow(
        self, machine: str, addr: str, connected: Callable[[], Awaitable[Connection]]
    ) -> None:
        """Debug the methods of one machine that stop at breakpoints, until cancelled."""
