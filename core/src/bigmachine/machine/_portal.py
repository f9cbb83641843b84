"""The bridge from ordinary threads into a trio loop."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from ..errors import UsageError
from ..rpc import TaskPool
from ..services._tracebacks import shorten_traceback

T = TypeVar("T")


class LoopEnded(UsageError):
    """The session that owned the loop is over."""


class Portal:
    """Runs async functions in the trio loop it was made in, for callers in other threads.

    A round trip costs 30 to 60 µs.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._tasks = TaskPool(nursery)
        self._thread = threading.get_ident()
        self._pid = os.getpid()

    def submit(
        self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[T]:
        """Run ``function`` in the loop; cancelling the future cancels it there."""
        self._check_caller()
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        async def job() -> None:
            # The caller may cancel the future at any moment; then nobody needs the outcome.
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                try:
                    result = await function(*args, **kwargs)
                except trio.Cancelled:
                    future.cancel()
                    raise
                except BaseException as exc:
                    shorten_traceback(exc)
                    future.set_exception(exc)
                else:
                    future.set_result(result)

        def start() -> None:
            running = self._tasks.start(job)
            future.add_done_callback(
                lambda done: self._cancel(running) if done.cancelled() else None
            )

        self.post(start)
        return future

    def run(self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Run ``function`` in the loop and wait for it; Ctrl-C cancels it there."""
        future = self.submit(function, *args, **kwargs)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def post(self, function: Callable[[], object]) -> None:
        """Call ``function`` in the loop, soon."""
        try:
            self._token.run_sync_soon(function)
        except trio.RunFinishedError:
            raise LoopEnded("the session is shut down; open a new one") from None

    def _cancel(self, job: Any) -> None:
        with contextlib.suppress(LoopEnded):  # the loop has ended, and the job with it
            self.post(job.cancel)

    def _check_caller(self) -> None:
        if os.getpid() != self._pid:
            raise UsageError(
                "a session does not survive os.fork(): open one in the child, or start the "
                "child by 'spawn' (see multiprocessing.set_start_method)"
            )
        if threading.get_ident() == self._thread:
            raise UsageError("this would wait for itself: inside trio, use the async classes")
