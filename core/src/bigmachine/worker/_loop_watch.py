"""Names the method that keeps a machine's loop from running."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

import trio

from ..errors import UsageError
from ..rpc import THREAD_ADVICE, running_method

logger = logging.getLogger("bigmachine.machine")


class LoopWatch:
    """Looks every ``period`` seconds if the trio loop that it was made in still runs.

    If not, an ``async def`` blocks it: no call and no keepalive is answered, so the driver will
    stop the machine. It logs a warning after ``limit`` seconds, and again after twice as many.
    Each time it looks, it calls ``also``.
    """

    def __init__(
        self, *also: Callable[[], object], period: float = 2.0, limit: float = 3.0
    ) -> None:
        self._also = also
        self._period = period
        self._limit = limit
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()

    def start(self) -> None:
        """Watch from a thread of its own, until the loop ends; `UsageError` if there is none."""
        try:
            threading.Thread(target=self._watch, name="bigmachine watch", daemon=True).start()
        except RuntimeError as exc:
            raise UsageError(f"the machine can start no thread; {THREAD_ADVICE}") from exc

    def _watch(self) -> None:
        while True:
            time.sleep(self._period)  # first, since the machine has enough to do when it starts
            is_running, limit = threading.Event(), self._limit
            try:
                self._token.run_sync_soon(is_running.set)
            except trio.RunFinishedError:
                return
            while not is_running.wait(limit):
                self._warn(limit)
                limit *= 2
            for check in self._also:
                check()

    def _warn(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._thread)
        if frame is None:
            return
        method = running_method(frame) or "something"
        logger.warning(
            "%s has blocked the machine's loop for %g s and more, %s; an async def must not block, "
            "or the machine is lost: use await, or make it a def",
            method,
            seconds,
            _place(frame),
        )
        del frame


def _place(frame: FrameType) -> str:
    [innermost] = traceback.extract_stack(frame, limit=1)
    return f"at {innermost.filename}:{innermost.lineno} in {innermost.name}"
