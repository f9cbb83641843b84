"""What happens to a session whose machines have nothing to do: a warning, and their end."""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable

import trio

from .._events import IdleWarning
from .._values import Cost, duration_text
from ..errors import UsageError
from ..system import System

_HOUR = 3600.0
_ASK_FRACTION, _LONGEST_ASK = 1 / 20, 60.0  # how late an end of work may be noticed
_WARNING_FRACTION, _LEAST_WARNING, _MOST_WARNING = 0.2, 60.0, 600.0
_PRECISION = 0.01  # a clock's rounding


class IdleWatch:
    """Stops the machines of a session once they have been idle for ``timeout`` seconds.

    It warns before. Without a ``timeout``, it warns after each idle hour and stops nothing.

    What is work is in `ActivityMonitor`; to start machines is work, too. The
    machines are asked from time to time, so the end of work is noticed late by up to a twentieth of
    the timeout, or a minute; never early. ``was_active`` and ``is_in_use`` are those of the
    `Fleet`. ``stop`` stops all machines, and says why.
    """

    def __init__(
        self,
        timeout: float | None,
        *,
        was_active: Callable[[], Awaitable[bool]],
        is_in_use: Callable[[], bool],
        cost: Callable[[], Cost],
        warn: Callable[[IdleWarning], None],
        stop: Callable[[str], object],
    ) -> None:
        self._timeout = timeout
        self._was_active = was_active
        self._is_in_use = is_in_use
        self._cost = cost
        self._warn = warn
        self._stop = stop

    async def run(self) -> None:
        """Watch until cancelled."""
        timeout = math.inf if self._timeout is None else self._timeout
        first_warning = _HOUR if self._timeout is None else timeout - _warning_seconds(timeout)
        interval = min(_LONGEST_ASK, timeout * _ASK_FRACTION)
        since, warning = trio.current_time(), first_warning
        while True:
            due = since + min(warning, timeout)
            await trio.sleep(max(_PRECISION, min(interval, due - trio.current_time())))
            if await self._was_active() or self._is_in_use():
                since, warning = trio.current_time(), first_warning
                continue
            idle = trio.current_time() - since + _PRECISION
            if idle >= timeout:
                self._end(timeout)
            elif idle >= warning:
                remaining = None if self._timeout is None else timeout - idle
                self._warn(IdleWarning(idle, remaining, self._cost()))
                warning += min(_HOUR, timeout)  # with a timeout, none before the end

    def _end(self, timeout: float) -> None:
        why = (
            f"the session was idle for {duration_text(timeout)} (idle_timeout). To go on, start "
            "machines again; to keep them for longer, set a longer idle_timeout"
        )
        self._stop(why)


def idle_timeout_of(system: System) -> float | None:
    """Return the system's ``idle_timeout``; `UsageError` if it can't be one."""
    timeout = system.idle_timeout
    if timeout is not None and not timeout > 0:
        raise UsageError(f"idle_timeout: must be more than 0 seconds, not {timeout!r}")
    return timeout


def is_interactive() -> bool:
    """Whether somebody types this program: in a notebook, in IPython or at Python's prompt.

    There a session has no ``with`` block whose end it could not outlive. `sys.ps1` exists only
    then (by Python's documentation); IPython and its kernels set it, too.
    """
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)


def _warning_seconds(timeout: float) -> float:
    """Return how long before the end to warn: a fifth, one to ten minutes, at most half."""
    fifth = min(max(timeout * _WARNING_FRACTION, _LEAST_WARNING), _MOST_WARNING)
    return min(fifth, timeout / 2)
