"""Plain generators of service methods: computed in threads, as fast as the receiver reads."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from .._exceptions import CallError, dump_exception
from .._frames import Payload
from .._streams import LARGE_ITEM_BYTES, OutgoingStream, item_cost
from ._registry import Method
from .pools._pools import Pools
from .pools._thread_job import ThreadJob, do_nothing
from .pools._work import Work


class GeneratorRun:
    """Sends the items of a plain generator, which runs in the thread pool.

    It holds a thread only while it computes: when the window is full it leaves the
    thread, and continues when the receiver has caught up.
    """

    def __init__(self, call: StreamingCall, pools: Pools, items: Iterator[Any]) -> None:
        self._call = call
        self._pools = pools
        # One context for all its steps, whichever threads run them.
        self._context = contextvars.copy_context()
        self._items = items
        self._outgoing: OutgoingStream | None = None
        self._room = 0
        self._job: ThreadJob | None = None  # its step, from its start until its follow-up
        self._is_cancelled = self._is_closing = False
        self.has_ended = False

    def begin(self) -> None:
        """Start to send; in the trio loop, like all other methods but ``_step``."""
        self._call.continue_with(self)
        if self._call.is_cancelled:
            self.cancel()
            return
        self._outgoing = self._call.open_stream()
        self._outgoing.on_room = self._resume
        self._outgoing.wake()

    @property
    def is_uncancellable(self) -> bool:
        """Whether it computes an item."""
        return self._job is not None and not self._is_closing

    def cancel(self) -> None:
        """Close the generator, as soon as the item that it computes is complete."""
        self._is_cancelled = True
        if self._job is None or self._job.cancel():
            self._start_closing()

    def _resume(self) -> None:
        if self._job is None and self._outgoing is not None:
            self._room = self._outgoing.room_bytes
            self._job = self._start(self._step)

    def _start(self, run: Callable[[], Callable[[], None]], *, at_once: bool = False) -> ThreadJob:
        run_in_context = functools.partial(self._context.run, run)
        method, refused = self._call.method, self._refused
        return self._pools.start_in_thread(run_in_context, method, refused=refused, at_once=at_once)

    def _refused(self, error: CallError) -> None:
        """End without the rest of the items: there is no thread for them."""
        if self._is_closing:
            self.has_ended = True
            return
        self._last(dump_exception(error))
        self._start_closing()

    def _start_closing(self) -> None:
        if not self.has_ended:
            self._is_closing = True
            self._job = self._start(self._close, at_once=True)

    def _step(self) -> Callable[[], None]:
        """Compute items in a thread, until the window is full, or the loop or a call must go on."""
        method, room, outgoing = self._call.method, self._room, self._outgoing
        threads = self._pools.threads
        assert outgoing is not None
        if not outgoing.has_room:  # others have filled the connection while this step waited
            return self._pause
        while not self._is_cancelled:
            try:
                payload = self._call.dump_item(next(self._items))
            except StopIteration:
                self.has_ended = True
                return functools.partial(self._last, None)
            except BaseException as exc:
                self._close()
                return functools.partial(self._last, dump_exception(exc))
            room -= item_cost(payload.size)
            is_large = payload.size > LARGE_ITEM_BYTES
            if is_large:  # else other threads would make theirs before the loop counts this one
                outgoing.announce(payload)
            is_full = room <= 0 or is_large or not outgoing.has_room
            if is_full or threads.is_ahead or self._pools.is_thread_wanted(method):
                return functools.partial(self._pause, payload)
            threads.post(functools.partial(self._post, payload))
        return self._close()

    def _post(self, payload: Payload) -> None:
        if not self._is_cancelled and self._outgoing is not None:
            self._outgoing.post(payload)

    def _pause(self, payload: Payload | None = None) -> None:
        """Post the last item of a step, if it made one; continue as soon as there is room."""
        if payload is not None:
            if payload.size > LARGE_ITEM_BYTES and self._outgoing is not None:
                self._outgoing.take_back(payload)
            self._post(payload)
        self._job = None
        if self._is_cancelled:
            self._start_closing()
        elif self._outgoing is not None:
            self._outgoing.wake()

    def _last(self, error: Payload | None) -> None:
        if not self._is_cancelled:
            self._call.end_stream(error)

    def _close(self) -> Callable[[], None]:
        close = getattr(self._items, "close", None)
        if close is not None:
            with contextlib.suppress(BaseException):
                close()
        self.has_ended = True
        return do_nothing


class StreamingCall(Protocol):
    """The call whose method returned the generator."""

    is_cancelled: bool
    method: Method

    def continue_with(self, work: Work) -> None: ...
    def dump_item(self, item: object) -> Payload: ...
    def open_stream(self) -> OutgoingStream: ...
    def end_stream(self, error: Payload | None) -> None: ...
