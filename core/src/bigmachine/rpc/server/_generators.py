"""Plain generators of service methods: computed in threads, sent as the receiver keeps up."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .._exceptions import dump_exception
from .._frames import Payload
from .._payload import dump_value
from .._streams import OutgoingStream, item_cost
from .._tasks import ThreadPool

if TYPE_CHECKING:
    from ._connection import ServingConnection

# Above this an item may have a body, behind which the next one has to wait.
_LARGE_ITEM_BYTES = 16 << 10


class GeneratorRun:
    """A plain generator on its way through the thread pool.

    It holds a thread only while it computes: when the window is full it leaves,
    and comes back when the receiver has caught up.
    """

    def __init__(
        self,
        connection: ServingConnection,
        threads: ThreadPool,
        method: str,
        stream: int,
        items: Iterator[Any],
    ) -> None:
        self._connection = connection
        self._threads = threads
        self._method = method
        # One for all its steps, whichever threads they meet.
        self._context = contextvars.copy_context()
        self._stream = stream
        self._items = items
        self._outgoing: OutgoingStream | None = None
        self._room = 0
        self._is_stepping = False
        self._is_cancelled = False

    def begin(self) -> None:
        """Start to send; in the trio loop, as all that follows but ``_step``."""
        if not self._connection.is_wanted(self._stream):
            self._cancel()
            return
        self._connection.on_cancel(self._stream, self._cancel)
        self._outgoing = self._connection.open_stream(self._stream)
        self._outgoing.on_room = self._resume
        self._resume()

    def _resume(self) -> None:
        if not self._is_stepping:
            self._is_stepping = True
            self._room = self._outgoing.room_bytes if self._outgoing is not None else 0
            self._threads.start(functools.partial(self._context.run, self._step))

    def _step(self) -> Callable[[], None]:
        """Compute items; in a thread, until the window is full or another call wants it."""
        room = self._room
        while not self._is_cancelled:
            try:
                payload = dump_value(self._method, "yielded", next(self._items))
            except StopIteration:
                return functools.partial(self._last, None)
            except BaseException as exc:
                self._close()
                return functools.partial(self._last, dump_exception(exc))
            room -= item_cost(payload.size)
            if room <= 0 or payload.size > _LARGE_ITEM_BYTES or self._threads.is_wanted:
                return functools.partial(self._pause, payload)
            self._threads.post(functools.partial(self._post, payload))
        self._close()
        return _nothing

    def _post(self, payload: Payload) -> None:
        if not self._is_cancelled and self._outgoing is not None:
            self._outgoing.post(payload)

    def _pause(self, payload: Payload) -> None:
        """Take the last item of a step; go on if there is room."""
        self._post(payload)
        self._is_stepping = False
        if self._is_cancelled or (self._outgoing is not None and self._outgoing.has_room):
            self._resume()  # if cancelled, to close the generator where it runs

    def _last(self, error: Payload | None) -> None:
        if not self._is_cancelled:
            self._connection.end_stream(self._stream, error)

    def _cancel(self) -> None:
        self._is_cancelled = True
        self._resume()

    def _close(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            with contextlib.suppress(BaseException):
                close()


def _nothing() -> None:
    pass
