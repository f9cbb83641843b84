"""The threads that run `def` methods."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import queue
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio

logger = logging.getLogger("bigmachine.rpc")


class ThreadPool:
    """Runs functions in at most ``limit`` threads, and what they return in the trio loop.

    trio's own threads cost 150 µs per call. Two queues, with one wake-up of the loop for
    all that is done by then, cost a fifth of that.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: queue.SimpleQueue[ThreadJob | None] = queue.SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._pending = 0

    def start(self, run: Callable[[], Callable[[], None]]) -> ThreadJob:
        """Call ``run`` in a thread, then what it returns in the trio loop.

        Neither may raise. The job returned can be cancelled until a thread takes it.
        """
        job = ThreadJob(run)
        self._pending += 1
        if self._pending > self._threads < self._limit:
            self._threads += 1
            # A daemon: a method that never ends must not keep the machine's process alive.
            threading.Thread(
                target=self._work, name=f"bigmachine-{self._threads}", daemon=True
            ).start()
        self._jobs.put(job)
        return job

    @property
    def has_waiting_jobs(self) -> bool:
        """Whether any job waits for a thread."""
        return self._pending > self._threads

    def post(self, function: Callable[[], None]) -> None:
        """Call ``function`` in the trio loop; from any thread."""
        self._done.append(function)
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._drain, idempotent=True)

    def run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Run an async function in the trio loop and wait for it; from a pool's thread."""
        return trio.from_thread.run(function, *args, trio_token=self._token)

    def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            # In a context of its own: the thread's next method must not see what this one sets.
            follow_up = contextvars.copy_context().run(job.run) if job.begin() else do_nothing
            self.post(lambda follow_up=follow_up: self._finish(follow_up))  # type: ignore[misc]
            del job, follow_up

    def _finish(self, follow_up: Callable[[], None]) -> None:
        self._pending -= 1
        follow_up()

    def _drain(self) -> None:
        while self._done:
            try:
                self._done.popleft()()
            except Exception:  # one call's fault; trio would end the whole process
                logger.exception("a call's outcome could not be handled")


class ThreadJob:
    """One function that a thread of the pool runs."""

    __slots__ = ("_taken", "run")

    def __init__(self, run: Callable[[], Callable[[], None]]) -> None:
        self.run = run
        self._taken = threading.Lock()

    def begin(self) -> bool:
        """Take the job; False if it was taken, or cancelled, before."""
        return self._taken.acquire(blocking=False)

    cancel = begin


def do_nothing() -> None:
    """Stand in for a callback that has nothing to do."""
