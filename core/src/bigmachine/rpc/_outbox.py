"""What a connection has yet to send, and in which order.

Small frames go first; large bodies take turns, a chunk at a time. If nothing is queued,
the task that posts a frame also sends it. Frames posted during one batch of received
frames, or during one scheduling round, share a write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from ._channel import Channel
from ._frames import CHUNK_BYTES, Buffer, Kind, Payload, data_header, message_frame

# A write costs as much as encoding ten small frames. To hold back more frames than that
# only leaves the peer idle.
_BATCH_FRAMES = 16


class Outbox:
    """Sends frames through a channel; `run` is its task, for as long as the connection lives."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._small: list[bytes] = []
        self._bodies: deque[_OutgoingBody] = deque()
        self._parked: Task | None = None
        self._is_corked = False
        self._idle: trio.Event | None = None  # made by the task that waits for it

    def post(self, frame: bytes, *, is_urgent: bool = True) -> None:
        """Send a frame: at once if nothing is queued and it ``is_urgent``.

        Otherwise it is sent in the next scheduling round, with all that is posted until then.
        """
        is_first = not self._small and not self._channel.has_unsent
        if is_urgent and is_first and not self._is_corked:
            self._channel.send_nowait(frame)
            if self._channel.has_unsent:
                self._wake()
        else:
            self._small.append(frame)
            if len(self._small) >= _BATCH_FRAMES and not self._channel.has_unsent:
                self._channel.send_nowait(self._take_small())
            self._wake()

    def post_message(
        self,
        kind: Kind,
        stream: int,
        payload: Payload,
        *,
        name: bytes = b"",
        uploads: int = 0,
        is_urgent: bool = True,
    ) -> trio.Event | None:
        """Send a message; if it has a body, return the event that is set when that is sent."""
        frame, body = message_frame(kind, stream, payload, name, uploads)
        self.post(frame, is_urgent=is_urgent)
        return self.post_body(stream, body) if body else None

    def post_body(self, stream: int, pieces: Sequence[Buffer]) -> trio.Event:
        """Send a message's body, after the message's frame; the event is set when it is sent."""
        body = _OutgoingBody(stream, pieces)
        self._bodies.append(body)
        self._wake()
        return body.is_sent

    def cancel_body(self, stream: int) -> None:
        """Send no more of the stream's body."""
        for body in self._bodies:
            if body.stream == stream:
                self._bodies.remove(body)
                body.is_sent.set()
                return

    def cork(self) -> None:
        """Hold frames back until `uncork`, because more are about to be posted."""
        self._is_corked = True

    def uncork(self) -> None:
        """Send the frames that were held back."""
        self._is_corked = False
        if self._small and not self._channel.has_unsent:
            self._channel.send_nowait(self._take_small())
        if self._channel.has_unsent or self._small or self._bodies:
            self._wake()

    async def flushed(self) -> None:
        """Wait until all that was posted so far is sent, or the connection is broken."""
        # The task of `run` is parked when there is nothing to send.
        if self._parked is None:
            self._idle = self._idle or trio.Event()
            await self._idle.wait()

    async def run(self) -> None:
        """Send until cancelled."""
        channel = self._channel
        while True:
            if channel.has_unsent:
                await channel.flush()
            if self._small:
                channel.send_nowait(self._take_small())
            elif self._bodies:
                self._send_chunk()
                await trio.lowlevel.checkpoint()
            elif not channel.has_unsent:
                if self._idle is not None:
                    self._idle.set()
                    self._idle = None
                self._parked = current_task()
                await wait_task_rescheduled(self._unpark)

    def _send_chunk(self) -> None:
        body = self._bodies.popleft()
        chunk = body.next_chunk()
        self._channel.send_nowait(data_header(body.stream, len(chunk)), chunk)
        if body.is_empty:
            body.is_sent.set()
        else:
            self._bodies.append(body)

    def _take_small(self) -> bytes:
        frames = self._small[0] if len(self._small) == 1 else b"".join(self._small)
        self._small.clear()
        return frames

    def _wake(self) -> None:
        if self._parked is not None and not self._is_corked:
            task, self._parked = self._parked, None
            reschedule(task)

    def _unpark(self, _raise_cancel: object) -> Abort:
        self._parked = None
        return Abort.SUCCEEDED


class _OutgoingBody:
    """The pieces of a body that are not yet sent."""

    __slots__ = ("_at", "_pieces", "is_sent", "stream")

    def __init__(self, stream: int, pieces: Sequence[Buffer]) -> None:
        self.stream = stream
        self.is_sent = trio.Event()
        self._pieces = deque(memoryview(piece).cast("B") for piece in pieces if len(piece))
        self._at = 0

    @property
    def is_empty(self) -> bool:
        return not self._pieces

    def next_chunk(self) -> memoryview:
        piece = self._pieces[0]
        chunk = piece[self._at : self._at + CHUNK_BYTES]
        self._at += len(chunk)
        if self._at == len(piece):
            self._pieces.popleft()
            self._at = 0
        return chunk
