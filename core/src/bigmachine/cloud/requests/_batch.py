"""Tasks in parallel: requests of many tasks combined into one, and work on many items at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Batch(Generic[T]):
    """Looks each caller's key up with ``request``, which takes up to ``max_keys`` keys.

    Callers that come during a request wait for its end; then one request serves all of them.
    So a single caller is not delayed, and a thousand callers need few requests.
    """

    def __init__(
        self, request: Callable[[Sequence[str]], Awaitable[Mapping[str, T]]], *, max_keys: int
    ) -> None:
        self._request = request
        self._max_keys = max_keys
        self._waiting: list[_Lookup[T]] = []
        self._lock = trio.Lock()

    async def __call__(self, key: str) -> T | None:
        """Return the result for ``key``, None if there is none. Raises what ``request`` raised."""
        lookup: _Lookup[T] = _Lookup(key)
        self._waiting.append(lookup)
        try:
            async with self._lock:
                if not lookup.is_done:
                    await self._request_all()
        finally:
            if lookup in self._waiting:  # cancelled
                self._waiting.remove(lookup)
        if lookup.error is not None:
            raise lookup.error
        return lookup.result

    async def _request_all(self) -> None:
        # This task is the first that waits, because the lock is fair.
        lookups = self._waiting[: self._max_keys]
        results: Mapping[str, T] = {}
        error: Exception | None = None
        try:  # when cancelled, this leaves the lookups to the next task
            results = await self._request([*dict.fromkeys(lookup.key for lookup in lookups)])
        except Exception as exc:
            error = exc
        for lookup in lookups:
            lookup.result, lookup.error = results.get(lookup.key), error
            lookup.is_done = True
            if lookup in self._waiting:
                self._waiting.remove(lookup)


async def for_each(items: Iterable[T], do: Callable[[T], Awaitable[None]]) -> None:
    """Call ``do`` for all items at once. If one call fails, the others continue.

    Raises the first error when all calls have ended.
    """
    errors: list[Exception] = []

    async def attempt(item: T) -> None:
        try:
            await do(item)
        except Exception as exc:
            errors.append(exc)

    async with trio.open_nursery() as nursery:
        for item in items:
            nursery.start_soon(attempt, item)
    if errors:
        raise errors[0]


class _Lookup(Generic[T]):
    """One key, and its result once there is one."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.is_done = False
        self.result: T | None = None
        self.error: Exception | None = None
