"""Concurrent callers of a `Batch` share one request."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from bigmachine.cloud import Batch


def run(test):
    return trio.run(test, clock=MockClock(autojump_threshold=0))


class Asked:
    def __init__(self, seconds=1.0):
        self.requests = []
        self.seconds = seconds

    async def __call__(self, keys):
        self.requests.append([*keys])
        await trio.sleep(self.seconds)
        if "bad" in keys:
            raise ValueError("bad")
        return {key: key.upper() for key in keys if key != "unknown"}


def test_callers_during_a_request_share_the_next_one():
    async def test():
        ask, answers = Asked(), {}
        batch = Batch(ask, max_keys=4)

        async def one(key):
            answers[key] = await batch(key)

        async with trio.open_nursery() as nursery:
            for key in ("a", "b", "c", "d", "e", "unknown"):
                nursery.start_soon(one, key)
        assert answers == {"unknown": None, **{k: k.upper() for k in "abcde"}}
        assert sorted(map(len, ask.requests)) == [1, 1, 4] or sorted(map(len, ask.requests)) == [
            2,
            4,
        ]

    run(test)


def test_cancelled_caller_leaves_the_request_to_the_others():
    async def test():
        ask, answers = Asked(), []
        batch = Batch(ask, max_keys=4)

        async def one(key, after, seconds):
            await trio.sleep(after)
            with trio.move_on_after(seconds):
                answers.append(await batch(key))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "first", 0.0, 9.0)
            nursery.start_soon(one, "cancelled", 0.1, 1.5)
            nursery.start_soon(one, "other", 0.2, 9.0)
        assert answers == ["FIRST", "OTHER"]
        assert ask.requests == [["first"], ["cancelled", "other"], ["other"]]

    run(test)


def test_failed_request_fails_for_all_its_callers():
    async def test():
        batch, errors = Batch(Asked(), max_keys=9), []

        async def one(key):
            try:
                await batch(key)
            except ValueError as exc:
                errors.append(str(exc))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "first")
            await trio.sleep(0.1)
            nursery.start_soon(one, "bad")
            nursery.start_soon(one, "good")
        assert errors == ["bad", "bad"]

    run(test)
