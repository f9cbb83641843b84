"""What waits for an outbox goes on when its connection ends."""

import trio
import trio.testing

from bigmachine.rpc._channel import StreamChannel
from bigmachine.rpc._outbox import Outbox


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
