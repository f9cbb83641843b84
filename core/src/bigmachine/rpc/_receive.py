"""Reads frames off a channel, for either end of a connection."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ._channel import Channel
from ._frames import Frame, FrameDecoder
from ._outbox import Outbox


async def receive_frames(
    channel: Channel, decoder: FrameDecoder, outbox: Outbox, handle: Callable[[Frame], None]
) -> None:
    """Give each received frame to ``handle``, until the peer closes.

    What is posted while one batch of frames is handled leaves in one write.
    """
    reads = 0
    while True:
        outbox.cork()
        try:
            for frame in decoder.frames():
                handle(frame)
                reads = 0
        finally:
            outbox.uncork()
        if not channel.is_drained and reads % _READS_PER_CHECKPOINT == 0:
            # Where there is no need to wait, let those run whom the frames woke; and in
            # the midst of a large body, let others run now and then.
            await trio.lowlevel.checkpoint()
        reads += 1
        count = await channel.receive_into(decoder.buffer())
        if not count:
            return
        decoder.received(count)


# A read brings 256 KiB at most, in 0.2 ms.
_READS_PER_CHECKPOINT = 4
