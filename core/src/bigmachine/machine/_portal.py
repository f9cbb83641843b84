"""The bridge from ordinary threads into a trio loop."""

from __future__ import annotations

import concurrent.futures
import functools
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from ..errors import UsageError
from ..process import FORKED
from ..rpc import LoopQueue, TaskPool
from ..services._loading import thread_role
from .calls._callbacks import CallbackThreads
from .calls._future import LoopEnded, LoopFuture, TaskFuture
from .output._handle_record import check_not_handling

T = TypeVar("T")
F = TypeVar("F", bound=LoopFuture[Any])


class Portal:
    """Runs async functions in the trio loop it was made in, for callers in other threads.

    They run in ``tasks``, a pool in ``nursery``; when that ends, they raise `LoopEnded`. A round
    trip costs 30 to 60 µs.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.tasks = TaskPool(nursery)
        self._callbacks = CallbackThreads()
        self._thread = threading.get_ident()
        self._pid = os.getpid()
        self._queue = LoopQueue()

    def submit(
        self, function: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any
    ) -> LoopFuture[T]:
        """Run ``function`` in the loop; cancelling the future cancels it there."""
        return self.start(TaskFuture(self, functools.partial(function, *args, **kwargs)))

    def run(self, function: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Run ``function`` in the loop and wait for it; Ctrl-C cancels it there."""
        self.check_may_wait()
        return self.wait(TaskFuture(self, functools.partial(function, *args, **kwargs)))

    def wait(self, future: LoopFuture[T]) -> T:
        """Begin a future's work in the loop and wait for it; Ctrl-C cancels it there.

        Where `check_may_wait` says nothing.
        """
        try:
            # Within: Ctrl-C may come when the work has begun, and this thread does not yet wait.
            self.start(future)
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def start(self, future: F) -> F:
        """Begin a future's work in the loop."""
        check_not_handling()
        self.post(future.begin)
        return future

    def post(self, function: Callable[[], object]) -> None:
        """Call ``function`` in the loop, soon; one wake-up serves all that is posted by then."""
        if os.getpid() != self._pid:  # the loop is the parent's
            raise UsageError(FORKED)
        try:
            self._queue.post(function)
        except trio.RunFinishedError:
            raise LoopEnded from None

    def call_back(
        self,
        function: Callable[[concurrent.futures.Future[T]], object],
        future: concurrent.futures.Future[T],
    ) -> None:
        """Call a future's done-callback: here, or in another thread if this is the loop's."""
        if threading.get_ident() != self._thread:
            function(future)
        else:
            self._callbacks.run(functools.partial(_call_back, function, future))

    def run_in_thread(self, function: Callable[[], object]) -> None:
        """Call ``function`` in a thread that may wait; in the loop."""
        self._callbacks.run(function)

    def check_may_wait(self) -> None:
        """Raise `UsageError` in the loop's own thread, and in those of other sessions."""
        if threading.get_ident() == self._thread or thread_role.is_loop:
            raise UsageError(
                "this would wait for itself: it runs in a session's own loop; inside trio, use "
                "the async classes, and in a __del__ use submit"
            )


def _call_back(
    function: Callable[[concurrent.futures.Future[T]], object],
    future: concurrent.futures.Future[T],
) -> None:
    try:
        function(future)
    except Exception:  # logged as by `concurrent.futures` itself
        logging.getLogger("concurrent.futures").exception(
            "exception calling callback for %r", future
        )
