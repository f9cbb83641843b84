"""Reads frames off a channel, for either end of a connection."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import trio

from ._frames import Frame
from .transport._channel import Channel
from .transport._decoder import FrameDecoder
from .transport._outbox import Outbox

# A read brings 256 KiB at most, in 0.2 ms.
_READS_PER_CHECKPOINT = 4

# Frames that are handled before the tasks run that they woke. A read may bring thousands of calls:
# so many tasks, and threads, at a time cost more than a few again and again.
_FRAMES_AT_ONCE = 128


async def receive_frames(
    channel: Channel,
    decoder: FrameDecoder,
    outbox: Outbox,
    handle: Callable[[Frame], bool | None],
    *,
    waits: bool = False,
) -> bool:
    """Give each received frame to ``handle``, until the peer closes: then return False.

    Return True at once if ``handle`` does, after what was posted is sent.

    All that is posted while one batch of frames is handled is sent in one write. If ``waits``,
    nothing is read while the outbox is clogged. One end only may do so: with both, neither
    would ever read again.
    """
    clock = trio.lowlevel.current_clock()
    count = reads = 0
    while True:
        handled = 0
        outbox.cork()
        try:
            for _ in range(_FRAMES_AT_ONCE):
                # The last one is not kept until the next one comes: it may be large.
                if (frame := decoder.next_frame(count)) is None:
                    break
                count = 0
                if handle(frame):
                    return True
                handled += 1
                reads = 0
        finally:
            outbox.uncork()
        is_more = handled == _FRAMES_AT_ONCE
        if is_more or (not channel.is_drained and reads % _READS_PER_CHECKPOINT == 0):
            # If there is no need to wait, let the tasks run that the frames woke; and
            # within a large body, let other tasks run now and then.
            await trio.lowlevel.checkpoint()
        if waits and outbox.is_clogged:
            await outbox.unclogged()
        if is_more:
            continue
        reads += 1
        count = await channel.receive_into(decoder.buffer())
        if not count:
            return False
        decoder.received_at, decoder.read_at = clock.current_time(), perf_counter()
