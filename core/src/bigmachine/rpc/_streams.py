"""Streams of items, in either direction, with a window that the receiver opens.

The sender of a stream may be `WINDOW_BYTES` ahead of the receiver's consumer. What
an item costs follows from its size, so both ends count alike; taking an item gives
its cost back by an ACK.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import trio

from ..errors import UsageError
from ._frames import Frame, Kind, Payload, control_frame, message_frame
from ._outbox import Outbox
from ._payload import loads

WINDOW_BYTES = 4 << 20
"""How far a stream's sender may be ahead, in bytes. On a link of 100 ms that is 40 MB/s."""

FILE_CHUNK_BYTES = 256 << 10
"""How much of a file argument goes into one item."""

# A generator's own clean-up, after its consumer has gone.
_CLOSE_TIMEOUT = 5.0

# An empty item takes memory too: it holds the number of items in the window to 16,384.
_ITEM_COST_BYTES = 256


def item_cost(size: int) -> int:
    """Return what an item of ``size`` bytes takes of the window; one always fits."""
    return min(size + _ITEM_COST_BYTES, WINDOW_BYTES)


class OutgoingStream:
    """The sending end of a stream."""

    def __init__(self, outbox: Outbox, stream: int) -> None:
        self.stream = stream
        self._outbox = outbox
        self._ahead = 0
        self._acked: trio.Event | None = None
        self._body: trio.Event | None = None
        self.on_room: Callable[[], None] | None = None
        """Called when the window opens again; for senders that aren't tasks."""

    @property
    def has_room(self) -> bool:
        """Whether the next item may be posted now."""
        return self._ahead < WINDOW_BYTES and (self._body is None or self._body.is_set())

    @property
    def room_bytes(self) -> int:
        """How much the window still takes."""
        return WINDOW_BYTES - self._ahead

    def post(self, payload: Payload) -> None:
        """Send an item; only when `has_room`."""
        self._ahead += item_cost(payload.size)
        frame, body = message_frame(Kind.ITEM, self.stream, payload)
        self._outbox.post(frame)
        if body:
            self._body = self._outbox.post_body(self.stream, body)

    async def send(self, payload: Payload) -> None:
        """Send an item, as soon as the window lets it."""
        await self.room()
        self.post(payload)

    async def room(self) -> None:
        """Wait until `has_room`."""
        while not self.has_room:
            if self._body is not None and not self._body.is_set():
                await self._body.wait()
            else:
                self._acked = trio.Event()
                await self._acked.wait()
        await trio.lowlevel.checkpoint()

    def acked(self, cost: int) -> None:
        """Take an ACK from the receiver."""
        self._ahead -= cost
        if self._acked is not None:
            self._acked.set()
        if self.on_room is not None and self.has_room:
            self.on_room()

    async def body_sent(self) -> None:
        """Wait until the last item is out entirely, so that another frame may follow it."""
        if self._body is not None:
            await self._body.wait()


class IncomingStream:
    """The receiving end of a stream: an async iterator of its items.

    ``load_error`` turns an ERROR frame into what is raised. Closing it early tells
    the sender to stop.
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
        self.on_close: Callable[[], None] = _nothing

    def deliver(self, frame: Frame) -> None:
        """Take a frame from the connection."""
        if frame.kind == Kind.ITEM:
            if self._end is None:  # else it was on its way when we closed
                self._frames.append(frame)
        elif frame.kind == Kind.END:
            self.finish(StopAsyncIteration())
        elif frame.kind == Kind.ERROR:
            self.finish(self._load_error(frame))
        else:  # CANCEL: the sender gave up, for a reason of its own
            self.finish(trio.BrokenResourceError("the sender cancelled the stream"))
        self._notify()

    def finish(self, end: Exception) -> None:
        """Have the consumer meet ``end`` after the items that are here."""
        if self._end is None:
            self._end = end
        self._notify()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return (await self.receive(1))[0]

    async def receive(self, max_items: int | None = None) -> list[Any]:
        """Wait for an item; return it and up to ``max_items`` of those that are here."""
        while not self._frames:
            if self._end is not None:
                self.on_close()
                raise self._end
            self._arrived = trio.Event()
            await self._arrived.wait()
        frames = [
            self._frames.popleft()
            for _ in range(
                min(len(self._frames), len(self._frames) if max_items is None else max_items)
            )
        ]
        if self._end is None:
            cost = sum(item_cost(frame.size) for frame in frames)
            self._outbox.post(control_frame(Kind.ACK, self.stream, cost))
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
                break  # those before it first
        return items

    def close(self) -> None:
        """Want no more; tells the sender so, unless the stream is over anyway."""
        self.abort(trio.ClosedResourceError("the stream was closed"))

    def abort(self, end: BaseException) -> None:
        """Want no more, because of ``end``, which the consumer meets at once."""
        if self._end is None:
            self._end = end
            self._outbox.post(control_frame(Kind.CANCEL, self.stream))
        self._frames.clear()
        self._notify()
        self.on_close()

    def _notify(self) -> None:
        if self._arrived is not None:
            self._arrived.set()


class StreamArgument:
    """Stands in a call's arguments for an iterator or file that is streamed up."""

    def __init__(self, stream: int, *, is_file: bool) -> None:
        self.stream = stream
        self.is_file = is_file

    def __reduce__(self) -> tuple[Any, ...]:
        return _stream_argument, (self.stream, self.is_file)


def _stream_argument(stream: int, is_file: bool) -> StreamArgument:
    return StreamArgument(stream, is_file=is_file)


async def close_items(items: AsyncIterator[Any]) -> None:
    """End a generator or channel that nobody will exhaust; cancelled or not, but bounded."""
    if hasattr(items, "aclose"):
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            await items.aclose()


def _nothing() -> None:
    pass
