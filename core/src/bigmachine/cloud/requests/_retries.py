"""Requests that fail for now: repeated after a pause, and until it is known what they did."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import trio

from ..errors._cloud_error import CloudError
from ._rate_limiter import RateLimiter

_CANCELLED_SECONDS = 30.0
"""For how long a change is repeated to learn its outcome, once its caller is cancelled."""

T = TypeVar("T")
MayRetry = Callable[[Any, int], bool]  # Any: the provider's `CloudError`


class Retries:
    """Repeats requests to one provider; each is a function that sends it once.

    The ``limiters`` of all its requests are drained when the provider throttles one.
    ``may_retry`` is called with an error and the number of the attempt, counted from 1: whether
    the request may be repeated. There is an attempt more than ``delays``, in seconds; a delay is
    longer if the provider wants that, see `CloudError.retry_after`. Raises the last error.
    """

    def __init__(self, *limiters: RateLimiter, logger: logging.Logger) -> None:
        self._limiters = limiters
        self._logger = logger

    async def read(
        self, send: Callable[[], Awaitable[T]], *, delays: Iterable[float], may_retry: MayRetry
    ) -> T:
        """Repeat a request that changes nothing. Can be cancelled whenever ``send`` can."""
        for attempt, delay in enumerate(delays, start=1):
            try:
                return await send()
            except CloudError as error:
                if not may_retry(error, attempt):
                    raise
                await self._pause(error, max(delay, error.retry_after))
        return await send()

    async def change(
        self,
        send: Callable[[], Awaitable[T]],
        *,
        delays: Iterable[float],
        may_retry: MayRetry,
        on_unknown: Callable[[], None] | None = None,
    ) -> T:
        """Repeat a request that changes something, and that changes nothing twice.

        While its outcome is unknown, this goes on also when it is cancelled, because the caller
        must know what was created: for half a minute at most. With ``on_unknown`` it does not go
        on: that is called when the outcome is unknown, and the caller takes care of what there may
        be. An error says whether the outcome of any attempt is unknown, before ``may_retry``.
        """
        attempts = enumerate(delays, start=1)
        is_unknown, give_up = False, math.inf
        with trio.CancelScope() as scope:
            while True:
                try:
                    return await send()
                except CloudError as error:
                    attempt, delay = next(attempts, (0, None))
                    error.is_outcome_unknown = is_unknown = is_unknown or error.is_outcome_unknown
                    if is_unknown and on_unknown is not None:
                        on_unknown()
                    if _is_cancelled(scope):
                        give_up = min(give_up, trio.current_time() + _CANCELLED_SECONDS)
                    scope.shield = is_unknown and on_unknown is None
                    if delay is None or not may_retry(error, attempt):
                        raise
                    delay = max(delay, error.retry_after)
                    if scope.shield and trio.current_time() + delay >= give_up:
                        raise
                    await self._pause(error, delay)
        raise AssertionError  # this scope is never cancelled

    async def _pause(self, error: CloudError, delay: float) -> None:
        if error.is_throttled:
            for limiter in self._limiters:
                limiter.drain()
        self._logger.debug("%s; retrying in %.1f s", error, delay)
        await trio.sleep(delay)


def _is_cancelled(scope: trio.CancelScope) -> bool:
    """Whether the current task is cancelled from outside this scope, which is not a shield then."""
    scope.shield = False
    return trio.current_effective_deadline() == -math.inf
