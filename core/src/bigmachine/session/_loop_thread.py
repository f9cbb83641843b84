"""The thread that runs a trio loop for a synchronous session."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import outcome
import trio

from ..errors import UsageError
from ..machine._portal import Portal
from ..machine.calls._future import LoopEnded
from ..services._loading import mark_loop_thread


class LoopThread:
    """A trio loop in a thread of its own, inside one async context manager.

    Opened in the constructor: returns with the context entered, or raises what
    entering it raised. `close` leaves the context and ends the thread.

    What runs through ``portal`` is cancelled before the context is left. What runs through
    ``call_portal`` is cancelled after it: when a session is left, its machines stop, so that
    calls to them end with the reason.
    """

    def __init__(self, context: AbstractAsyncContextManager[Any]) -> None:
        self._context = context
        self._opened: concurrent.futures.Future[tuple[Portal, Portal]] = concurrent.futures.Future()
        self._closed: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._cancel_opening: Callable[[], object] = lambda: None
        # A daemon, for a program that never closes its session: atexit closes it then.
        self._thread = threading.Thread(target=self._run, name="bigmachine", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as exc:  # the interpreter is ending, or there are too many
            raise UsageError(f"a session needs a thread: {exc}") from None
        try:
            self.portal, self.call_portal = self._opened.result()
        except BaseException:
            with contextlib.suppress(trio.RunFinishedError):
                self._cancel_opening()  # Ctrl-C while it opens: let it clean up, then go
            self._thread.join()
            raise

    @property
    def is_current(self) -> bool:
        """Whether this is called in the loop's own thread."""
        return threading.current_thread() is self._thread

    def close(self) -> None:
        """Leave the context; raises what leaving it raised. The first Ctrl-C goes on waiting.

        Any number of threads may call it, and all return when the context is left.
        """
        self.close_soon()
        try:
            self._closed.result()
        except KeyboardInterrupt:
            # Machines are being freed: to give up here would leave some behind.
            self._closed.result()
            raise
        finally:
            if self._closed.done():
                self._thread.join()

    def close_soon(self) -> None:
        """Leave the context, without waiting for it."""
        with contextlib.suppress(LoopEnded):
            self.portal.post(self._stop.set)

    def _run(self) -> None:
        mark_loop_thread()
        try:
            trio.run(self._main)
        except BaseException as exc:
            if not self._opened.done():
                self._opened.set_exception(exc)
            self._closed.set_exception(exc)
        else:
            self._closed.set_result(None)

    async def _main(self) -> None:
        token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        with trio.CancelScope() as opening:
            self._cancel_opening = lambda: token.run_sync_soon(opening.cancel)
            async with trio.open_nursery() as calls:
                # An error is raised after the nursery, so that it isn't in a group.
                end = await outcome.acapture(self._run_context, Portal(calls))
                calls.cancel_scope.cancel()
            end.unwrap()
        if not self._opened.done():
            raise KeyboardInterrupt

    async def _run_context(self, call_portal: Portal) -> None:
        """Enter the context, wait for `close`, and leave it."""
        async with self._context:
            self._cancel_opening = lambda: None
            async with trio.open_nursery() as nursery:
                self._opened.set_result((Portal(nursery), call_portal))
                await self._stop.wait()
                nursery.cancel_scope.cancel()
