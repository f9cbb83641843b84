"""Keepalives: ask a machine for a sign of life, measure its silence, watch its health."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

import trio

from .._backoff import FIRST_PAUSE, backoff
from .._events import Event, MachineHealth
from .._repeated_event import RepeatedEvent
from .._values import Diagnose, Keepalive, KeepaliveReply, Termination
from ..errors import StopReason
from ._link import Link

logger = logging.getLogger("bigmachine.machine")

_REPLY_TIMES = 64  # how many are kept for observers
_BUSY_TIMEOUTS = 6  # for how many timeouts a machine that computes may be silent


class KeepaliveMonitor:
    """Asks one machine for signs of life; calls ``stop`` when it is gone, or silent for too long.

    ``diagnose`` asks whether the machine is known to be gone, and ``is_busy`` whether it is known
    to compute, and may be silent for longer. ``explain`` adds what may be
    known about an unexplained silence. ``notify`` tells observers when the machine's health
    changes, and ``set_silent`` is told when a silence begins, and when it is over.
    ``after_reply`` is called, in a task of its own, with each reply.
    """

    def __init__(
        self,
        name: str,
        *,
        link: Link,
        timings: Keepalive,
        diagnose: Diagnose,
        is_busy: Callable[[], bool],
        explain: Callable[[Termination], Termination],
        stop: Callable[[Termination], None],
        notify: Callable[[Event], None],
        set_silent: Callable[[bool], None],
        after_reply: Callable[[KeepaliveReply], Awaitable[None]],
    ) -> None:
        self.reply_times: deque[float] = deque(maxlen=_REPLY_TIMES)
        """How long the last replies took, in seconds, the newest last."""
        self.replied_at: float | None = None
        """When the last reply came, on `time.monotonic`; None before the first."""
        self.is_silent = False
        """Whether the present question got no reply in time, for an unknown reason."""
        self._name = name
        self._link = link
        self._timings = timings
        self._diagnose = diagnose
        self._is_busy = is_busy
        self._explain = explain
        self._stop = stop
        self._notify = notify
        self._tell_silent = set_silent
        self._after_reply = after_reply
        self._is_healthy = True
        self._hurry = RepeatedEvent()

    def ask_now(self) -> None:
        """Ask at once, instead of at the end of the period."""
        self._hurry.set()

    async def run(self, nursery: trio.Nursery, since: float) -> None:
        """Ask every period until cancelled; new connections are served in ``nursery``.

        ``since`` is when the machine's own clock began, perhaps long before it was reached: it
        ends itself if it is not asked in time.
        """
        last_reply = trio.current_time()
        due = since + self._timings.period
        try:
            while True:
                with trio.move_on_at(due):
                    await self._hurry.wait()
                last_reply = await self._ask_until_answered(nursery, last_reply)
                due = last_reply + self._timings.period
        finally:
            self._set_silent(False)

    async def _ask_until_answered(self, nursery: trio.Nursery, last_reply: float) -> float:
        """Ask until there is a reply; return when that was. Stop the machine if it is gone."""
        pauses = backoff()
        began = trio.current_time()
        reply = await self._link.ask()
        while reply is None:
            silence = trio.current_time() - last_reply
            gone = await self._diagnose()
            self._set_silent(gone is None)
            self._judge(gone, silence)
            # Neither later than the timeout, nor so often that it costs.
            left = max(self._timings.timeout - silence, FIRST_PAUSE)
            await trio.sleep(min(next(pauses), left))
            began = trio.current_time()
            # It may be the connection alone that is dead.
            reply = await self._link.ask_anew(nursery)
        self._set_silent(False)
        now = trio.current_time()
        self.reply_times.append(now - began)
        self.replied_at = time.monotonic()
        self._set_health(reply)
        nursery.start_soon(self._after_reply, reply)
        return now

    def _set_silent(self, is_silent: bool) -> None:
        self.is_silent = is_silent
        self._tell_silent(is_silent)

    def _judge(self, gone: Termination | None, silence: float) -> None:
        """Stop a machine that is known to be gone, or was silent for too long."""
        timeout, rpc_timeout = self._timings.timeout, self._timings.rpc_timeout
        if gone is None and silence >= timeout * (_BUSY_TIMEOUTS if self._is_busy() else 1):
            detail = (
                f"it was silent for {silence:.0f} s (keepalive timeout "
                f"{timeout:g} s, rpc timeout {rpc_timeout:g} s)"
            )
            gone = self._explain(Termination(StopReason.KEEPALIVE, detail))
        if gone is not None:
            self._stop(gone)

    def _set_health(self, reply: KeepaliveReply) -> None:
        if reply.healthy == self._is_healthy:
            return
        self._is_healthy = reply.healthy
        if not reply.healthy:
            logger.warning("%s: it has used 95 %% of its memory and may soon be killed", self._name)
        self._notify(MachineHealth(self._name, reply.healthy))
