"""The trio loop that tests run in; if a backend blocks it, the kit abandons it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import NoReturn, TypeVar

import trio

from bigmachine.session._loop_thread import LoopThread

T = TypeVar("T")

_TEST_TIMEOUT = 600.0  # for a test as a whole; its steps are bounded by the suite's timeout
_POLL = 0.5  # how often the limits are looked at


class GuardedLoop:
    """A trio loop in a daemon thread.

    It ``is_abandoned`` once a task has blocked it for ``timeout`` seconds, or has exceeded a
    limit although it was cancelled. The task then hangs until the process ends.
    """

    def __init__(self, timeout: float) -> None:
        self.is_abandoned = False
        self._timeout = timeout
        self._limits: dict[object, tuple[float, str]] = {}
        self._thread = LoopThread(_nothing())

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Await ``function()`` in the loop; `AssertionError` if it hangs the loop."""

        async def bounded() -> T:
            try:
                with trio.fail_after(_TEST_TIMEOUT):
                    return await function()
            except BaseException as exc:
                if (exit := _exit_in(exc)) is not None:  # it would end more than this test
                    raise AssertionError(f"a hook raised {exit!r}") from exc
                single = _single_in(exc)
                if single is exc:
                    raise
                raise single from single.__cause__  # the nurseries around it say nothing

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
    def limiting(self, what: str, within: float | None = None) -> Iterator[None]:
        """Abandon the loop if the block takes longer, even if it ignores its cancellation.

        ``what`` is what is late then, such as "`stop`"; ``within`` is in seconds, by default
        the suite's timeout.
        """
        seconds = self._timeout if within is None else within
        key, message = object(), f"{what} has not ended after {seconds:g} s"
        self._limits[key] = (time.monotonic() + seconds, message)
        try:
            yield
        finally:
            del self._limits[key]

    def _watch(self, future: concurrent.futures.Future[T]) -> T:
        asked = time.monotonic()
        while True:
            concurrent.futures.wait([future], _POLL)
            if future.done():
                return future.result()
            now = time.monotonic()
            for limit, message in [*self._limits.values()]:
                if now > limit:
                    self._abandon(message)
            if now > asked + self._timeout:
                if not self._is_responsive():
                    self._abandon(
                        f"a hook has blocked trio's loop for {self._timeout:g} s: an async hook "
                        "must await whatever it waits for"
                    )
                asked = time.monotonic()

    def _is_responsive(self) -> bool:
        turned = threading.Event()
        self._thread.portal.post(turned.set)
        return turned.wait(self._timeout)

    def _abandon(self, why: str) -> NoReturn:
        self.is_abandoned = True
        raise AssertionError(why)


def _exit_in(exc: BaseException) -> BaseException | None:
    """Return the `SystemExit` or `GeneratorExit` that ``exc`` is, or that is in its group."""
    if isinstance(exc, BaseExceptionGroup):
        return next(filter(None, map(_exit_in, exc.exceptions)), None)
    return exc if isinstance(exc, SystemExit | GeneratorExit) else None


def _single_in(exc: BaseException) -> BaseException:
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


@contextlib.asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield
