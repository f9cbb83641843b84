"""A wrapper that ends hooks which do not return in time, and remembers them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

import trio

from bigmachine.system import Instance, hookimpl

Limiting = Callable[[str, float], AbstractContextManager[None]]
"""`GuardedLoop.limiting`."""


class HookBounds:
    """Bounds the hooks that a session waits for, so that a test cannot wait for ever.

    A hook that is late is cancelled, and raises an error; one that a session's own tasks call
    is also in ``late``. One that ignores the cancellation makes the kit abandon the loop.
    ``timeout`` and ``start_timeout`` are in seconds.
    """

    def __init__(self, *, timeout: float, start_timeout: float, limiting: Limiting) -> None:
        self.late: list[str] = []
        self._timeout = timeout
        self._start_timeout = start_timeout
        self._limiting = limiting

    @hookimpl(wrapper=True)
    def setup(self) -> Any:
        """Bound it."""
        return self._bounded((yield), "`setup`")

    @hookimpl(wrapper=True)
    def start(self) -> Any:
        """Bound it."""
        return self._bounded((yield), "`start`", within=self._start_timeout)

    @hookimpl(wrapper=True)
    def stop(self, instance: Instance) -> Any:
        """Bound it."""
        return self._bounded((yield), f"`stop` of {instance.name.partition('.')[0]}")

    @hookimpl(wrapper=True)
    def shutdown(self) -> Any:
        """Bound it."""
        return self._bounded((yield), "`shutdown`")

    @hookimpl(wrapper=True)
    def keepalive_failed(self) -> Any:
        """Bound it; what it tells of a machine that hangs is no reason to fail a test."""
        return self._bounded((yield), "`keepalive_failed`", is_told=False)

    @hookimpl(wrapper=True)
    def console(self) -> Any:
        """Bound it."""
        return self._bounded((yield), "`console`", is_told=False)

    @hookimpl(wrapper=True)
    def instances(self) -> Any:
        """Bound it."""
        return self._bounded((yield), "`instances`", is_told=False)

    @hookimpl(wrapper=True)
    def read(self) -> Any:
        """Bound the wait for each chunk."""
        chunks = yield

        async def bounded() -> AsyncIterator[bytes]:
            end = object()
            while True:
                chunk = await self._bounded(anext(chunks, end), "`read`", is_told=False)
                if chunk is end:
                    return
                yield chunk

        return bounded()

    async def _bounded(
        self,
        hook: Awaitable[Any],
        what: str,
        *,
        within: float | None = None,
        is_told: bool = True,
    ) -> Any:  # Any: what the hook returns
        seconds = self._timeout if within is None else within
        with self._limiting(what, 2 * seconds), trio.move_on_after(seconds) as scope:
            return await hook
        assert scope.cancelled_caught
        message = f"{what} has not returned after {seconds:g} s"
        if is_told:
            self.late.append(message)
        raise AssertionError(message)
