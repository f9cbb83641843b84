"""A wrapper that ends hooks which do not return in time, and remembers them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

import trio

from bigmachine.system import Instance, hookimpl

Limiting = Callable[[str, float], AbstractContextManager[None]]
"""`GuardedLoop.limiting`."""


class HookBounds:
    """Bounds the hooks that a session waits for, so that a test cannot wait for ever.

    A hook that is late is cancelled, and is in ``late``. One that ignores the cancellation
    makes the kit abandon the loop. ``timeout`` and ``start_timeout`` are in seconds.
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

    async def _bounded(
        self, hook: Awaitable[Any], what: str, *, within: float | None = None
    ) -> Any:  # Any: what the hook returns
        seconds = self._timeout if within is None else within
        with self._limiting(what, 2 * seconds), trio.move_on_after(seconds) as scope:
            return await hook
        assert scope.cancelled_caught
        self.late.append(f"{what} has not returned after {seconds:g} s")
        raise AssertionError(self.late[-1])
