"""A peer is silent when nothing came, and not when this loop could not read what came."""

import trio
from trio.testing import MockClock

from bigmachine.rpc.loop._silence import until_silent

TIMEOUT = 8.0


class Peer:
    """Sends something every second, read by a task that may have its turn late."""

    def __init__(self) -> None:
        self.heard_at = trio.current_time()

    async def read(self) -> None:
        while True:
            await trio.sleep(1)
            await trio.lowlevel.checkpoint()
            self.heard_at = trio.current_time()

    async def until_silent(self) -> None:
        await until_silent(lambda: self.heard_at, TIMEOUT)


def test_peer_is_silent_once_nothing_came_for_the_timeout() -> None:
    async def test() -> float:
        peer = Peer()
        with trio.move_on_after(20.5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.read)
                await peer.until_silent()
        await peer.until_silent()
        return trio.current_time()

    clock = MockClock(autojump_threshold=0)
    began = clock.current_time()
    assert trio.run(test, clock=clock) - began == 20.5 + TIMEOUT


def test_peer_is_not_silent_because_the_loop_was_held_up() -> None:
    async def test(begin: float, seconds: float) -> bool:
        async def hold_the_loop_up() -> None:
            await trio.sleep(begin)
            clock.jump(seconds)

        peer = Peer()
        with trio.move_on_after(40) as listening:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.read)
                nursery.start_soon(hold_the_loop_up)
                await peer.until_silent()
                nursery.cancel_scope.cancel()
        return listening.cancelled_caught

    for begin in (0.1, 7.9):
        for tenths in range(1, 30 * int(TIMEOUT), 5):
            clock = MockClock(autojump_threshold=0)
            seconds = tenths / 10
            assert trio.run(test, begin, seconds, clock=clock), (begin, seconds)
