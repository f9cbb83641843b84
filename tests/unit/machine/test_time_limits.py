"""A clock for time limits, which can be paused."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from bigmachine.machine._time_limits import TimeLimits


async def waited_until(limits: TimeLimits, deadline: float) -> float:
    with limits.until(deadline):
        await trio.sleep(100)
    return trio.current_time()


def run(test) -> None:
    trio.run(test, clock=MockClock(autojump_threshold=0))


def test_block_is_cancelled_at_its_time():
    async def test() -> None:
        limits = TimeLimits()
        began = trio.current_time()
        assert await waited_until(limits, limits.time() + 3) == began + 3

    run(test)


def test_pause_gives_blocks_before_and_within_it_their_time_afterwards():
    async def test() -> None:
        limits = TimeLimits()
        began = trio.current_time()
        ended: list[float] = []

        async def wait(seconds: float) -> None:
            ended.append(await waited_until(limits, limits.time() + seconds) - began)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, 3)
            await trio.sleep(1)
            with limits.paused(), limits.paused():
                nursery.start_soon(wait, 4)
                await trio.sleep(10)
            nursery.start_soon(wait, 5)
        assert ended == [13, 15, 16]

    run(test)


def test_block_that_ends_by_itself_is_forgotten():
    async def test() -> None:
        limits = TimeLimits()
        with limits.until(limits.time() + 3):
            pass
        with limits.paused():
            await trio.sleep(10)
        await trio.sleep(10)
        assert limits.time() == trio.current_time() - 10

    run(test)
