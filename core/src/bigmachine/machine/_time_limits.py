"""The time limits of a session's calls, which stand still while somebody debugs its machines."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

import trio

from ..rpc import Connection, TaskPool

_KEPT_TIMEOUTS = 16


class TimeLimits:
    """A clock that can be paused, and the cancel scopes that go by it."""

    def __init__(self) -> None:
        self._clock: trio.abc.Clock | None = None
        self._pauses = 0
        self._paused_at = 0.0
        self._paused_for = 0.0
        self._deadlines: dict[trio.CancelScope, float] = {}
        # By timeout, so that those of each are in the order of their deadlines.
        self._limited: dict[float, _LimitedCalls] = {}

    def begin(self) -> None:
        """Go by the clock of this trio loop."""
        self._clock = trio.lowlevel.current_clock()

    def time(self) -> float:
        """Return the time of this clock, in seconds; after `begin` in any thread."""
        clock = self._clock or trio.lowlevel.current_clock()
        now = self._paused_at if self._pauses else clock.current_time()
        return now - self._paused_for

    @contextlib.contextmanager
    def until(self, deadline: float) -> Iterator[trio.CancelScope]:
        """Cancel the block at a time of this clock; what follows the block then runs."""
        with trio.CancelScope() as scope:
            self._deadlines[scope] = deadline
            self._set(scope)
            try:
                yield scope
            finally:
                del self._deadlines[scope]

    def limit(self, call: Limited, timeout: float, *, tasks: TaskPool) -> None:
        """Let ``call`` expire after ``timeout``, unless `lift` is called before.

        All with the same timeout share one of the ``tasks``; RuntimeError if these have ended.
        """
        calls = self._limited.get(timeout)
        if calls is None:
            calls = _LimitedCalls()
            tasks.start(functools.partial(self._watch, timeout, calls))
            self._limited[timeout] = calls
        calls[call] = self.time() + timeout

    def lift(self, call: Limited, timeout: float) -> None:
        """Forget a call that has ended."""
        if (calls := self._limited.get(timeout)) is None:
            return
        calls.pop(call, None)
        # Most programs have a few timeouts. If each call has its own, no task may stay that long.
        if not calls and len(self._limited) > _KEPT_TIMEOUTS:
            del self._limited[timeout]
            if calls.sleep is not None:
                calls.sleep.cancel()

    async def _watch(self, timeout: float, calls: _LimitedCalls) -> None:
        try:
            while calls:
                earliest = next(iter(calls.values()))
                with self.until(earliest) as calls.sleep:
                    await trio.sleep_forever()
                now = max(self.time(), earliest)  # rounding must not keep it from expiring
                while calls and next(iter(calls.values())) <= now:
                    call = next(iter(calls))
                    del calls[call]
                    call.expire()
        finally:
            if self._limited.get(timeout) is calls:
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


class _LimitedCalls(dict["Limited", float]):
    """Calls with the same timeout and their deadlines, and what ends the ``sleep`` until one."""

    __slots__ = ("sleep",)

    def __init__(self) -> None:
        super().__init__()
        self.sleep: trio.CancelScope | None = None


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
