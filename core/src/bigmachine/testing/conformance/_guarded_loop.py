"""The trio loop that tests run in; if a backend blocks it, the kit abandons it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import NoReturn, TypeVar

import trio

from bigmachine.session._loop_thread import LoopThread

T = TypeVar("T")

_TEST_TIMEOUT = 600.0  # for a test as a whole; its steps are bounded by the suite's timeout


class GuardedLoop:
    """A trio loop in a daemon thread.

    It ``is_abandoned`` once a task has blocked it, or ignored its cancellation, for ``timeout``
    seconds. The task then hangs until the process ends.
    """

    def __init__(self, timeout: float) -> None:
        self.is_abandoned = False
        self._timeout = timeout
        self._give_up_at = math.inf
        self._thread = LoopThread(_nothing())

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Await ``function()`` in the loop; `AssertionError` if it hangs the loop."""

        async def bounded() -> T:
            with trio.fail_after(_TEST_TIMEOUT):
                return await function()

        future = self._thread.portal.submit(bounded)
        try:
            return self._watch(future)
        except BaseException:
            future.cancel()
            raise

    def close(self, clean_up: Callable[[], Awaitable[None]]) -> None:
        """Await ``clean_up()``, for a limited time, and end the loop unless it is blocked."""
        with contextlib.suppress(Exception):
            self._thread.portal.submit(clean_up).result(self._timeout)
        if self._is_responsive():
            self._thread.close()

    @contextlib.contextmanager
    def giving_up(self) -> Iterator[None]:
        """Abandon the loop if the block, which may ignore cancellation, exceeds the timeout."""
        self._give_up_at = time.monotonic() + self._timeout
        try:
            yield
        finally:
            self._give_up_at = math.inf

    def _watch(self, future: concurrent.futures.Future[T]) -> T:
        while True:
            concurrent.futures.wait([future], self._timeout)
            if future.done():
                return future.result()
            if time.monotonic() > self._give_up_at:
                self._abandon("a hook that was cancelled has not ended")
            if not self._is_responsive():
                self._abandon(
                    "a hook blocks trio's loop: an async hook must await whatever it waits for"
                )

    def _is_responsive(self) -> bool:
        turned = threading.Event()
        self._thread.portal.post(turned.set)
        return turned.wait(self._timeout)

    def _abandon(self, why: str) -> NoReturn:
        self.is_abandoned = True
        raise AssertionError(f"{why} after {self._timeout:g} s")


@contextlib.asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield
