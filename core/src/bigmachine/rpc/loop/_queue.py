"""What other threads have a trio loop do."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import trio

logger = logging.getLogger("bigmachine.rpc")

# Then it is the turn of the loop's tasks, which wait for some milliseconds.
_CALLS_AT_ONCE = 1024


class LoopQueue:
    """Calls functions in the trio loop in which it is made, in the order in which they are posted.

    To wake the loop takes a system call, during which threads compete for the interpreter. So one
    wake-up serves all that is posted by then.
    """

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        # No lock: a signal handler, or a __del__, may post at any moment, and wait for the loop.
        self._posted: deque[Callable[[], object]] = deque()
        self._runs = 0  # how often the loop has begun to call what was posted
        self._requested = -1  # the last of `_runs` for which a further run was requested

    def post(self, function: Callable[[], object]) -> None:
        """Call ``function`` in the loop, soon; in any thread. It should not raise.

        `trio.RunFinishedError` if the loop has ended.
        """
        self._posted.append(function)
        self._request()

    @property
    def is_long(self) -> bool:
        """Whether so much is posted that who can should wait for the loop."""
        return len(self._posted) >= _CALLS_AT_ONCE

    def _request(self) -> None:
        runs = self._runs
        if self._requested != runs:
            self._token.run_sync_soon(self._run)
            # Not before: a handler that interrupts this relies on a request that is already made.
            self._requested = runs

    def _run(self) -> None:
        self._runs += 1
        while self._posted:
            for _ in range(min(len(self._posted), _CALLS_AT_ONCE)):
                try:
                    self._posted.popleft()()
                except Exception:  # it must not end the loop
                    logger.exception("an internal error")
            if self._posted:
                try:
                    self._request()
                except trio.RunFinishedError:  # no loop runs it later, so it is run here
                    continue
                return
