"""The time limits of a session's calls, which stand still while somebody debugs its machines."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

import trio

from ..rpc import Connection


class TimeLimits:
    """A clock that can be paused, and the cancel scopes that go by it."""

    def __init__(self) -> None:
        self._clock: trio.abc.Clock | None = None
        self._pauses = 0
        self._paused_at = 0.0
        self._paused_for = 0.0
        self._deadlines: dict[trio.CancelScope, float] = {}

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


class Debugger(Protocol):
    """Debugs the methods of a session's machines."""

    time_limits: TimeLimits

    async def follow(
        self, machine: str, addr: str, connected: Callable[[], Awaitable[Connection]]
    ) -> None:
        """Debug the methods of one machine that stop at breakpoints, until cancelled."""
