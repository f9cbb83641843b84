"""What other threads have a loop do is done, in order, and costs few wake-ups."""

from __future__ import annotations

import functools
import logging
import threading

import pytest
import trio
import trio.testing

from bigmachine.rpc import LoopQueue
from bigmachine.rpc.loop._queue import _CALLS_AT_ONCE

MANY = 20 * _CALLS_AT_ONCE + 1  # more than a loop has rounds as it ends


def test_all_is_called_in_order_even_if_the_loop_ends() -> None:
    called: list[int] = []

    async def main() -> None:
        queue = LoopQueue()
        for n in range(MANY):
            queue.post(functools.partial(called.append, n))

    trio.run(main)
    assert called == [*range(MANY)]


def test_one_wake_up_serves_all_that_is_posted_by_then() -> None:
    async def main() -> None:
        called: list[int] = []
        queue = LoopQueue()
        for n in range(3):  # also after the first has been served
            before = len(called)
            for _ in range(100):
                queue.post(functools.partial(called.append, n))
            assert trio.lowlevel.current_statistics().run_sync_soon_queue_size == 1
            await trio.testing.wait_all_tasks_blocked()
            assert len(called) == before + 100

    trio.run(main)


def test_tasks_have_their_turns_during_a_burst() -> None:
    async def main() -> None:
        called: list[int] = []
        queue = LoopQueue()
        for n in range(MANY):
            queue.post(functools.partial(called.append, n))
        seen = set()
        while len(called) < MANY:
            seen.add(len(called))
            await trio.lowlevel.checkpoint()
        assert len(seen) >= 3

    trio.run(main)


def test_what_is_posted_meanwhile_by_threads_is_called_too() -> None:
    async def main() -> None:
        called: list[int] = []
        queue = LoopQueue()

        def post() -> None:
            for n in range(MANY):
                queue.post(functools.partial(called.append, n))

        threads = [threading.Thread(target=post) for _ in range(4)]
        for thread in threads:
            thread.start()
        with trio.fail_after(60):
            while len(called) < 4 * MANY:
                await trio.lowlevel.checkpoint()
        for thread in threads:
            thread.join()

    trio.run(main)


def test_function_that_raises_is_logged_and_the_next_is_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        called: list[int] = []
        queue = LoopQueue()
        queue.post(lambda: [][0])
        queue.post(functools.partial(called.append, 1))
        await trio.testing.wait_all_tasks_blocked()
        assert called == [1]

    with caplog.at_level(logging.ERROR, logger="bigmachine.rpc"):
        trio.run(main)
    assert "IndexError" in caplog.text
    caplog.clear()
