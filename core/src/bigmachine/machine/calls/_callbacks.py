"""The threads in which done-callbacks of futures run, since the loop must not wait for them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

import trio

logger = logging.getLogger("bigmachine.machine")

# A callback that takes longer than this may wait for something that another one is to do.
_BLOCKED_SECONDS = 0.05


class CallbackThreads:
    """Calls functions in order, in one thread; in one more each time that the others are blocked.

    The threads are trio's, which keeps them for ten seconds, and which end with the process.
    """

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], object]] = deque()
        self._lock = threading.Lock()
        self._threads = 0
        self._taken = 0
        self._is_watched = False

    def run(self, job: Callable[[], object]) -> None:
        """Call ``job`` in a thread, soon; in the trio loop."""
        with self._lock:
            self._jobs.append(job)
            is_served = self._threads > 0
        if not is_served:
            self._start_thread()
        elif not self._is_watched:
            self._is_watched = True
            trio.lowlevel.spawn_system_task(self._watch, name="bigmachine callbacks")

    async def _watch(self) -> None:
        """While jobs wait, start another thread each time that none was taken."""
        while self._jobs:
            taken = self._taken
            await trio.sleep(_BLOCKED_SECONDS)
            if taken == self._taken:
                self._start_thread()
        self._is_watched = False

    def _start_thread(self) -> None:
        with self._lock:
            self._threads += 1
        try:
            trio.lowlevel.start_thread_soon(self._work, lambda _: None, "bigmachine callbacks")
        except RuntimeError:  # no thread can be started: a blocked one must do, once it goes on
            with self._lock:
                self._threads -= 1

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
                self._taken += 1
            job()
