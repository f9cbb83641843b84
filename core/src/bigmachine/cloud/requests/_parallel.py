"""Independent requests at once, for what `System.setup` finds out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, cast

from ._batch import for_each

T = TypeVar("T")


class Parallel:
    """Calls that `run` makes at once.

    Of several errors it raises that of the call which was added first, so that what a user is
    told does not depend on which answer came first. The other calls end before that.
    """

    def __init__(self) -> None:
        self._calls: list[Pending[Any]] = []

    def add(self, call: Callable[[], Awaitable[T]]) -> Pending[T]:
        """Add a call; its result is there after `run`."""
        pending = Pending(call)
        self._calls.append(pending)
        return pending

    async def run(self) -> None:
        """Make all calls. Raises the first one's error that failed."""
        await for_each(self._calls, Pending.run)
        for call in self._calls:
            if call.error is not None:
                raise call.error


class Pending(Generic[T]):
    """A call, and its result or its error once it has ended."""

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self.error: Exception | None = None
        self._call = call
        self._result: T | None = None

    @property
    def result(self) -> T:
        """What the call returned; only after `Parallel.run`."""
        return cast("T", self._result)

    async def run(self) -> None:
        """Make the call."""
        try:
            self._result = await self._call()
        except Exception as exc:
            self.error = exc
