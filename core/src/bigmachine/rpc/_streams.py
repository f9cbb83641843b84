"""Streams of items, in either direction, with a window that the receiver opens.

The sender of a stream may be `WINDOW_BYTES` ahead of the receiver's consumer. An item's
cost follows from its size, so both ends count the same. When the consumer has received items,
an ACK gives their cost back to the sender; small items share one. Each end
checks that the other counts right.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn

import trio

from ..errors import ProtocolError, UsageError
from ._frames import Frame, Kind, Payload, control_frame
from ._payload import loads
from .loop._turns import without_turn
from .transport._outbox import Outbox

WINDOW_BYTES = 4 << 20
"""How far a stream's sender may be ahead, in bytes: 40 MB/s on a link of 100 ms."""

FILE_CHUNK_BYTES = 256 << 10
"""How much of a file argument goes into one item."""

LARGE_ITEM_BYTES = 16 << 10
"""Above this an item may have a body, and the next item has to wait for it."""

# How long a generator may clean up after its consumer has stopped reading.
_CLOSE_TIMEOUT = 5.0

# An empty item takes memory too: this limits the items in the window to 16,384.
_ITEM_COST_BYTES = 256

# How much of the window is given back at once, so that small items share an ACK.
_ACK_BYTES = WINDOW_BYTES // 8

# How long a task may send items that it need not wait for before other tasks run.
_SLICE_SECONDS = 0.0005


def item_cost(size: int) -> int:
    """Return how much of the window an item of ``size`` bytes takes; one always fits."""
    return min(size + _ITEM_COST_BYTES, WINDOW_BYTES)


class OutgoingStream:
    """The sending end of a stream."""

    def __init__(self, outbox: Outbox, stream: int) -> None:
        self.stream = stream
        self._outbox = outbox
        self._ahead = 0
        self._acked: trio.Event | None = None
        self._body: trio.Event | None = None
        self._watches_outbox = False
        self._slice_end = 0.0
        self.on_room: Callable[[], None] | None = None
        """Called when the window opens again; for senders that aren't tasks."""

    @property
    def has_room(self) -> bool:
        """Whether the next item may be posted now."""
        return (
            self._ahead < WINDOW_BYTES
            and (self._body is None or self._body.is_set())
            and self._outbox.has_room
        )

    @property
    def room_bytes(self) -> int:
        """How much room the window has left."""
        return WINDOW_BYTES - self._ahead

    def announce(self, payload: Payload) -> None:
        """Count a large item that a thread has made, until `take_back`; in any thread."""
        self._outbox.announce(payload.size)

    def take_back(self, payload: Payload) -> None:
        """Stop to count it: it is posted now, or never; in the loop."""
        self._outbox.take_back(payload.size)

    def post(self, payload: Payload) -> None:
        """Send an item in this scheduling round; call it only if `has_room`."""
        self._ahead += item_cost(payload.size)
        # Not urgent: all items of one round share a write.
        self._body = self._outbox.post_message(Kind.ITEM, self.stream, payload, is_urgent=False)
        self._watch_outbox()

    async def send(self, payload: Payload) -> None:
        """Send an item as soon as the window has room. Not always a checkpoint."""
        if not self.has_room or trio.current_time() >= self._slice_end:
            await self.room()
            self._slice_end = trio.current_time() + _SLICE_SECONDS
        self.post(payload)

    async def room(self) -> None:
        """Wait until `has_room`."""
        while not self.has_room:
            if self._body is not None and not self._body.is_set():
                await self._body.wait()
            else:
                self._watch_outbox()
                self._acked = trio.Event()
                await self._acked.wait()
        await trio.lowlevel.checkpoint()

    def acked(self, cost: int) -> None:
        """Handle an ACK from the receiver."""
        if cost > self._ahead:
            raise ProtocolError(f"stream {self.stream} was given back more than was sent")
        self._ahead -= cost
        self.wake()

    def wake(self) -> None:
        """Let those who wait for room go on, now or as soon as there is some."""
        if self._acked is not None:
            self._acked.set()
        if self.on_room is not None:
            if self.has_room:
                self.on_room()
            else:
                self._watch_outbox()

    def _watch_outbox(self) -> None:
        """Be woken once the connection has room, if it has none."""
        if not (self._outbox.has_room or self._watches_outbox):
            self._watches_outbox = True
            self._outbox.when_room(self._outbox_has_room)

    def _outbox_has_room(self) -> None:
        self._watches_outbox = False
        self.wake()

    async def body_sent(self) -> None:
        """Wait until the last item is sent entirely, so that another frame may follow it."""
        if self._body is not None:
            await self._body.wait()


class IncomingStream:
    """The receiving end of a stream: an async iterator of its items.

    ``load_error`` makes the exception to raise from an ERROR frame. Closing the stream
    early tells the sender to stop.
    """

    def __init__(
        self, outbox: Outbox, stream: int, load_error: Callable[[Frame], Exception]
    ) -> None:
        self.stream = stream
        self._outbox = outbox
        self._load_error = load_error
        self._frames: deque[Frame] = deque()
        self._arrived: trio.Event | None = None
        self._end: BaseException | None = None
        self._unread_bytes = 0  # what the items cost that were not acknowledged yet
        self._unacked_bytes = 0  # what the items cost that were taken since the last ACK
        self.items = self.items_bytes = 0
        """How many items have arrived so far, and their size."""
        self.on_close: Callable[[], None] = _nothing
        self.on_call_end: Callable[[Exception], object] = _nothing

    def deliver(self, frame: Frame) -> None:
        """Handle a frame from the connection."""
        if frame.kind == Kind.ITEM:
            if self._end is None:  # else it was sent before the sender saw that we closed
                if self._unread_bytes >= WINDOW_BYTES:
                    raise ProtocolError(f"stream {self.stream} has more items than its window")
                self._unread_bytes += item_cost(frame.size)
                self.items += 1
                self.items_bytes += frame.size
                self._frames.append(frame)
        elif frame.kind == Kind.END:
            self.finish(StopAsyncIteration())
        elif frame.kind == Kind.ERROR:
            self.finish(self._load_error(frame))
        else:  # CANCEL: the sender stopped, for a reason of its own
            self.finish(trio.BrokenResourceError("the sender cancelled the stream"))
        self._notify()

    def finish(self, end: Exception) -> None:
        """Raise ``end`` at the consumer after the items that have arrived."""
        if self._end is None:
            self._end = end
        self._notify()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return (await self.receive(1))[0]

    async def receive(self, max_items: int | None = None) -> list[Any]:
        """Wait for an item; return all that have arrived, but at most ``max_items``."""
        while not self._frames:
            if self._end is not None:
                self.on_close()
                raise self._end.with_traceback(None)  # it may be raised more than once
            self._acknowledge()
            self._arrived = trio.Event()
            await without_turn(self._arrived.wait())
        arrived = len(self._frames)
        count = arrived if max_items is None else min(arrived, max_items)
        frames = [self._frames.popleft() for _ in range(count)]
        self._unacked_bytes += sum(item_cost(frame.size) for frame in frames)
        if self._unacked_bytes >= _ACK_BYTES:
            self._acknowledge()
        items = []
        for frame in frames:
            try:
                items.append(loads(frame))
            except Exception as exc:
                self.close()
                self._end = UsageError(f"an item of the stream can't be unpickled here: {exc}")
                self._end.__cause__ = exc
                if not items:
                    raise self._end from exc
                break  # return those before it first
        return items

    def close(self) -> None:
        """Stop receiving; tell the sender so, unless the stream has ended."""
        self.abort(trio.ClosedResourceError("the stream was closed"))

    def abort(self, end: BaseException) -> None:
        """Stop receiving, and raise ``end`` at the consumer at once."""
        if self._end is None:
            self._end = end
            self._outbox.post(control_frame(Kind.CANCEL, self.stream))
        self._frames.clear()
        self._notify()
        self.on_close()

    def end_with_call(self, method: str) -> None:
        """Stop receiving, for the call of ``method`` that the stream is an argument of has ended.

        A method may have kept it: whatever was not read is lost, and that must not look like the
        end of the stream.
        """
        self.close()
        self._end = UsageError(
            f"the call of {method} has ended, and with it the iterators and files that were its "
            "arguments: read them during the call, for instance by list(rows) or file.read()"
        )
        on_call_end, self.on_call_end = self.on_call_end, _nothing  # it refers to this stream
        on_call_end(self._end)

    def _acknowledge(self) -> None:
        """Give back to the sender what was taken, so that it may send so much more."""
        if self._unacked_bytes and self._end is None:
            self._outbox.post(control_frame(Kind.ACK, self.stream, self._unacked_bytes))
            self._unread_bytes -= self._unacked_bytes
        self._unacked_bytes = 0

    def _notify(self) -> None:
        if self._arrived is not None:
            self._arrived.set()


class ThreadIterator:
    """The items of a stream as a plain iterator, for code in a thread.

    ``receive`` waits for items and returns all that have arrived: many small items take
    one hop to the trio loop. Several threads may use it; each item goes to one of them.
    """

    def __init__(self, receive: Callable[[], list[Any]]) -> None:
        self._receive = receive
        self._items: deque[Any] = deque()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._lock:
            while True:
                try:
                    if not self._items:
                        self._items.extend(self._receive())
                    return self._items.popleft()
                except StopAsyncIteration:
                    raise StopIteration from None
                except IndexError:  # after `clear` by another thread
                    continue

    def clear(self) -> None:
        """Drop the items that were received and not yet returned."""
        self._items.clear()

    def fail(self, error: Exception) -> None:
        """Drop them, and raise ``error`` from now on."""

        def receive() -> NoReturn:
            raise error.with_traceback(None)

        self._receive = receive
        self.clear()


class StreamArgument:
    """Replaces an iterator or file, which is uploaded as a stream, in a call's arguments."""

    def __init__(self, stream: int, *, is_file: bool) -> None:
        self.stream = stream
        self.is_file = is_file

    def __reduce__(self) -> tuple[Any, ...]:
        return _stream_argument, (self.stream, self.is_file)


def _stream_argument(stream: int, is_file: bool) -> StreamArgument:
    return StreamArgument(stream, is_file=is_file)


@contextlib.asynccontextmanager
async def closing(
    items: AsyncIterator[Any],
    *,
    within: Callable[[], AbstractAsyncContextManager[object]] = contextlib.nullcontext,
) -> AsyncIterator[None]:
    """Close a generator or channel after the block, even when cancelled, but in a bounded time.

    It is closed inside a context that ``within`` returns.

    The generator may be inside a scope or nursery of its own when it yields. So the scope that
    bounds it must be around the block, too.
    """
    with trio.CancelScope() as scope:
        try:
            yield
        finally:
            if hasattr(items, "aclose"):
                scope.shield = True
                scope.deadline = trio.current_time() + _CLOSE_TIMEOUT
                async with within():
                    await items.aclose()


def _nothing(*_: object) -> None:
    pass
