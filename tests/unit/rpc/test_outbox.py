"""Frames of a burst share writes; what waits for an outbox goes on when its connection ends."""

import trio
import trio.testing

from bigmachine.rpc._frames import Buffer, Frame, Kind, control_frame
from bigmachine.rpc._receive import _FRAMES_AT_ONCE, receive_frames
from bigmachine.rpc.transport._channel import StreamChannel
from bigmachine.rpc.transport._decoder import FrameDecoder
from bigmachine.rpc.transport._outbox import _BATCH_BYTES, _BATCH_FRAMES, Outbox

FRAME = control_frame(Kind.END, 1)


class RecordingChannel(StreamChannel):
    """Records the size of each write."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.writes: list[int] = []

    def send_nowait(self, *pieces: Buffer) -> None:
        self.writes.append(sum(len(piece) for piece in pieces))

    @property
    def is_drained(self) -> bool:  # always, so that a burst alone makes its reader give way
        return True


def test_each_write_of_a_burst_is_twice_as_large_as_the_last_one() -> None:
    async def main() -> None:
        ours, _ = trio.testing.memory_stream_pair()
        channel = RecordingChannel(ours)
        outbox = Outbox(channel)
        first = _BATCH_FRAMES * len(FRAME)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(2):  # the next burst begins with a small one again
                channel.writes.clear()
                for _ in range(10 * _BATCH_BYTES // len(FRAME)):
                    outbox.post(FRAME, is_urgent=False)
                assert channel.writes[:4] == [first, 2 * first, 4 * first, 8 * first]
                assert max(channel.writes) == _BATCH_BYTES
                await trio.testing.wait_all_tasks_blocked()
                assert sum(channel.writes) == 10 * _BATCH_BYTES
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_tasks_have_their_turns_while_the_frames_of_a_burst_are_handled() -> None:
    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.aclose()
        channel = RecordingChannel(ours)
        handled: list[Frame] = []
        seen = set()

        async def watch() -> None:
            while True:
                seen.add(len(handled))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            decoder = FrameDecoder(leading=10 * _FRAMES_AT_ONCE * FRAME)
            await receive_frames(channel, decoder, Outbox(channel), handled.append)
            nursery.cancel_scope.cancel()
        assert len(handled) == 10 * _FRAMES_AT_ONCE
        assert len(seen) >= 4  # trio decides whose turn is first

    trio.run(main)


def test_nobody_waits_for_an_outbox_whose_connection_has_ended() -> None:
    async def main() -> None:
        ours, _ = trio.testing.lockstep_stream_pair()
        outbox = Outbox(StreamChannel(ours))

        async def run() -> None:
            with connection:
                await outbox.run()

        connection = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()
            outbox.post(b"nobody reads this")
            nursery.start_soon(outbox.flushed)
            await trio.testing.wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 2
            connection.cancel()
        await outbox.flushed()

    trio.run(main)
