"""Plain generators of service methods: computed in threads, as fast as the receiver reads."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from .._exceptions import dump_exception
from .._frames import Payload
from .._marshal import dump_result
from .._streams import LARGE_ITEM_BYTES, OutgoingStream, item_cost
from ._threads import ThreadPool, do_nothing


class GeneratorRun:
    """Sends the items of a plain generator, which runs in the thread pool.

    It holds a thread only while it computes: when the window is full it leaves the
    thread, and continues when the receiver has caught up.
    """

    def __init__(
        self, call: StreamingCall, threads: ThreadPool, method: str, items: Iterator[Any]
    ) -> None:
        self._call = call
        self._threads = threads
        self._method = method
        # One context for all its steps, whichever threads run them.
        self._context = contextvars.copy_context()
        self._items = items
        self._outgoing: OutgoingStream | None = None
        self._room = 0
        self._is_stepping = False
        self._is_cancelled = False

    def begin(self) -> None:
        """Start to send; in the trio loop, like all other methods but ``_step``."""
        if self._call.is_cancelled:
            self._cancel()
            return
        self._call.on_cancel(self._cancel)
        self._outgoing = self._call.open_stream()
        self._outgoing.on_room = self._resume
        self._resume()

    def _resume(self) -> None:
        if not self._is_stepping:
            self._is_stepping = True
            self._room = self._outgoing.room_bytes if self._outgoing is not None else 0
            self._threads.start(functools.partial(self._context.run, self._step))

    def _step(self) -> Callable[[], None]:
        """Compute items in a thread, until the window is full or another call needs the thread."""
        room = self._room
        while not self._is_cancelled:
            try:
                payload = dump_result(self._method, next(self._items), verb="yielded")
            except StopIteration:
                return functools.partial(self._last, None)
            except BaseException as exc:
                self._close()
                return functools.partial(self._last, dump_exception(exc))
            room -= item_cost(payload.size)
            if room <= 0 or payload.size > LARGE_ITEM_BYTES or self._threads.has_waiting_jobs:
                return functools.partial(self._pause, payload)
            self._threads.post(functools.partial(self._post, payload))
        self._close()
        return do_nothing

    def _post(self, payload: Payload) -> None:
        if not self._is_cancelled and self._outgoing is not None:
            self._outgoing.post(payload)

    def _pause(self, payload: Payload) -> None:
        """Post the last item of a step; continue if there is room."""
        self._post(payload)
        self._is_stepping = False
        if self._is_cancelled or (self._outgoing is not None and self._outgoing.has_room):
            self._resume()  # if cancelled, to close the generator where it runs

    def _last(self, error: Payload | None) -> None:
        if not self._is_cancelled:
            self._call.end_stream(error)

    def _cancel(self) -> None:
        self._is_cancelled = True
        self._resume()

    def _close(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            with contextlib.suppress(BaseException):
                close()


class StreamingCall(Protocol):
    """The call whose method returned the generator."""

    is_cancelled: bool

    def on_cancel(self, cancel: Callable[[], object]) -> None: ...
    def open_stream(self) -> OutgoingStream: ...
    def end_stream(self, error: Payload | None) -> None: ...
