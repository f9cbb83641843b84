"""How tests wait: each wait is bounded, and says what it waited for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from ._guarded_loop import GuardedLoop

POLL = 0.05
"""The pause between two checks of what sends no event, in seconds: to list all processes, as
many checks do, takes 10 ms."""


class Waiting:
    """The part of the `Kit` that waits; ``timeout`` is the suite's."""

    timeout: float
    _loop: GuardedLoop | None

    async def eventually(
        self, what: str, is_so: Callable[[], Awaitable[bool] | bool], within: float | None = None
    ) -> None:
        """Wait until ``is_so``; fail after ``within`` seconds (default: the suite's timeout)."""
        seconds = self.timeout if within is None else within
        with self.limiting(what, 2 * seconds), trio.move_on_after(seconds):
            while True:
                outcome = is_so()
                if await outcome if isinstance(outcome, Awaitable) else outcome:
                    return
                await trio.sleep(POLL)
        raise AssertionError(f"not within {seconds:g} s: {what}")

    @contextlib.asynccontextmanager
    async def promptly(self, what: str, within: float | None = None) -> AsyncIterator[None]:
        """Fail if the block takes longer than ``within`` seconds (default: timeout)."""
        seconds = self.timeout if within is None else within
        try:
            with self.limiting(what, 2 * seconds), trio.fail_after(seconds):
                yield
        except trio.TooSlowError:
            raise AssertionError(f"not done after {seconds:g} s: {what}") from None

    def limiting(
        self, what: str, within: float | None = None
    ) -> contextlib.AbstractContextManager[None]:
        """Abandon the loop if the block takes longer, even if it ignores its cancellation."""
        assert self._loop is not None
        return self._loop.limiting(what, within)
