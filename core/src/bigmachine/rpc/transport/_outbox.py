"""What a connection has yet to send, and in which order.

Small frames go first; large bodies take turns, a chunk at a time. If nothing is queued,
the task that posts a frame also sends it. Frames posted during one batch of received
frames, or during one scheduling round, share a write.

At most `MAX_BODIES` messages with bodies are under way, together no larger than the largest
message: the receiver counts them, too. Those after them wait in line, their frames included.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict, deque
from collections.abc import Callable

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from .._frames import (
    DEFAULT_LIMIT_BYTES,
    MAX_BODIES,
    SHARED_BYTES,
    Payload,
    data_header,
    message_frame,
)
from ..memory._socket import MemorySocket
from ._channel import Channel
from ._outgoing_body import OutgoingBody, SharedBody

# A write costs as much as encoding ten small frames. To hold back more frames than that
# only leaves the peer idle.
_BATCH_FRAMES = 16

# But each further write of a scheduling round has twice as many, up to this size: in a write, the
# interpreter passes to another thread if one computes, and comes back after its switch interval.
_BATCH_BYTES = 64 << 10

# Of those who wait for room; each may use some of it.
_WAKE_AT_ONCE = 64

MAX_SMALL_BYTES = 4 << 20
"""How many bytes of small frames may wait until nothing more is read from the peer, or produced.

On a link of 1 Mbit/s they take half a minute.
"""

MAX_UNSENT_BYTES = 64 << 20
"""How many bytes of bodies may wait until no more are produced."""


class Outbox:
    """Sends frames through a channel; `run` is its task, for as long as the connection lives.

    ``limit_bytes`` is the largest message that the peer accepts.
    """

    def __init__(self, channel: Channel, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._channel = channel
        self._limit_bytes = limit_bytes
        self._small: list[bytes] = []
        self._small_bytes = 0
        self._batch_frames = _BATCH_FRAMES
        self._under_way: dict[int, OutgoingBody] = {}  # by stream; the next one to send first
        self._under_way_bytes = 0  # announced, of all of them
        self._in_line: OrderedDict[int, OutgoingBody] = OrderedDict()
        self._unsent_bytes = 0  # of all bodies
        self._announced_bytes = 0  # of bodies that threads have made, and that are not posted yet
        self._announcing = threading.Lock()
        self._parked: Task | None = None
        self.is_corked = False
        """Whether frames are held back, since more are about to be posted."""
        self._has_ended = False
        self._idle: trio.Event | None = None  # made by the task that waits for it
        self._unclogged: trio.Event | None = None  # like `_idle`
        self._when_room: deque[Callable[[], None]] = deque()

    @property
    def is_clogged(self) -> bool:
        """Whether the peer does not read what it is sent, so that it should not be read either."""
        return self._small_bytes >= MAX_SMALL_BYTES

    async def unclogged(self) -> None:
        """Wait until the peer has read enough."""
        while self.is_clogged:
            self._unclogged = self._unclogged or trio.Event()
            await self._unclogged.wait()

    @property
    def has_room(self) -> bool:
        """Whether more replies and items should be produced."""
        return (
            self._small_bytes < MAX_SMALL_BYTES
            and self._unsent_bytes + self._announced_bytes < MAX_UNSENT_BYTES
        )

    @property
    def memory(self) -> MemorySocket | None:
        """The way of large buffers past the wire, if there is one."""
        return self._channel.memory

    def announce(self, size: int) -> None:
        """Count a body of so many bytes, in any thread, from now on: it will be posted."""
        with self._announcing:
            self._announced_bytes += size

    def take_back(self, size: int) -> None:
        """Forget what was announced: it is posted now, or never; in the loop."""
        with self._announcing:
            self._announced_bytes -= size
        self._wake()

    def when_room(self, function: Callable[[], None]) -> None:
        """Call ``function`` once there is room again."""
        self._when_room.append(function)
        self._wake()  # there may be room by now

    def post(self, frame: bytes, *, is_urgent: bool = True) -> None:
        """Send a frame: at once if nothing is queued and it ``is_urgent``.

        Otherwise it is sent in the next scheduling round, with all that is posted until then.
        """
        must_wait = self.is_corked or not is_urgent or self._small
        if not (must_wait or self._channel.has_unsent):
            self._channel.send_nowait(frame)
            if not self._channel.has_unsent:
                return
        else:
            self._small.append(frame)
            self._small_bytes += len(frame)
            is_batch = len(self._small) >= self._batch_frames or self._small_bytes >= _BATCH_BYTES
            if is_batch and not self._channel.has_unsent:
                self._batch_frames *= 2
                self._channel.send_nowait(self._take_small())
        self._wake()

    def post_message(
        self,
        kind: int,
        stream: int,
        payload: Payload,
        *,
        name: bytes = b"",
        uploads: int = 0,
        headers: bytes = b"",
        is_urgent: bool = True,
    ) -> trio.Event | None:
        """Send a message; if it has a body, return the event that is set when that is sent."""
        memory = self._channel.memory
        if payload.size >= SHARED_BYTES and memory is not None and memory.has_room:
            encode = functools.partial(
                message_frame, kind, stream, name=name, uploads=uploads, headers=headers
            )
            unsent: OutgoingBody = SharedBody(stream, payload, encode, memory)
        else:
            frame, body = message_frame(kind, stream, payload, name, uploads, headers)
            if not body:
                self.post(frame, is_urgent=is_urgent)
                return None
            unsent = OutgoingBody(stream, frame, body, payload.size)
        self._in_line[stream] = unsent
        self._unsent_bytes += unsent.left
        self._advance_line()
        self._wake()
        return unsent.is_sent

    def cancel_body(self, stream: int) -> bool:
        """Send no more of the stream's body; return whether the peer waits for the rest of it."""
        body = self._in_line.pop(stream, None)
        if body is None:
            if (body := self._under_way.pop(stream, None)) is None:
                return False
            self._under_way_bytes -= body.size
            self._advance_line()
        self._unsent_bytes -= body.left
        body.is_sent.set()
        return body.has_begun

    def cork(self) -> None:
        """Hold frames back until `uncork`, because more are about to be posted."""
        self.is_corked = True

    def uncork(self) -> None:
        """Send the frames that were held back."""
        self.is_corked = False
        if self._small and not self._channel.has_unsent:
            self._channel.send_nowait(self._take_small())
        if self._channel.has_unsent or self._small or self._under_way:
            self._wake()

    async def flushed(self) -> None:
        """Wait until all that was posted so far is sent, or the connection is broken or ends."""
        # The task of `run` is parked when there is nothing to send.
        if self._parked is None and not self._has_ended:
            self._idle = self._idle or trio.Event()
            await self._idle.wait()

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            await self._send()
        finally:
            self._has_ended = True
            self._in_line.clear()  # who still has the connection need not keep what is large
            self._under_way.clear()
            if self._idle is not None:
                self._idle.set()

    async def _send(self) -> None:
        channel = self._channel
        while True:
            self._batch_frames = _BATCH_FRAMES
            if channel.has_unsent:
                await channel.flush()
            if self._unclogged is not None and not self.is_clogged:
                self._unclogged.set()
                self._unclogged = None
            if self._when_room and self.has_room:
                for _ in range(min(len(self._when_room), _WAKE_AT_ONCE)):
                    self._when_room.popleft()()
                await trio.lowlevel.checkpoint()  # they may fill it again
            if self._small:
                channel.send_nowait(self._take_small())
            elif self._under_way:
                self._send_chunk()
                await trio.lowlevel.checkpoint()
            elif not channel.has_unsent and not self._when_room:
                if self._idle is not None:
                    self._idle.set()
                    self._idle = None
                self._parked = current_task()
                await wait_task_rescheduled(self._unpark)

    def _advance_line(self) -> None:
        """Let bodies get under way, as many as may."""
        while self._in_line and len(self._under_way) < MAX_BODIES:
            body = next(iter(self._in_line.values()))
            total = self._under_way_bytes + body.size
            if self._under_way and total > self._limit_bytes:
                break
            self._under_way[body.stream] = self._in_line.pop(body.stream)
            self._under_way_bytes = total

    def _send_chunk(self) -> None:
        stream = next(iter(self._under_way))
        body = self._under_way.pop(stream)
        unsent = body.left
        head = body.begin() if not body.has_begun else b""
        if body.has_begun:
            if chunk := body.next_chunk():
                head += data_header(stream, len(chunk))
            self._unsent_bytes -= unsent - body.left
            self._channel.send_nowait(head, chunk)
        if body.left or not body.has_begun:
            self._under_way[stream] = body
        else:
            body.is_sent.set()
            self._under_way_bytes -= body.size
            self._advance_line()

    def _take_small(self) -> bytes:
        frames = self._small[0] if len(self._small) == 1 else b"".join(self._small)
        self._small.clear()
        self._small_bytes = 0
        return frames

    def _wake(self) -> None:
        if self._parked is not None and not self.is_corked:
            task, self._parked = self._parked, None
            reschedule(task)

    def _unpark(self, _raise_cancel: object) -> Abort:
        self._parked = None
        return Abort.SUCCEEDED
