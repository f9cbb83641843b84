"""Requests are rate-limited, backoff has jitter, and concurrent callers share one request."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from bigmachine.cloud import Batch, RateLimiter, backoff, for_each, poll_intervals


def run(test):
    return trio.run(test, clock=MockClock(autojump_threshold=0))


def test_burst_is_immediate_and_the_rest_is_rate_limited():
    async def test():
        limiter = RateLimiter(rate=2.0, burst=5)
        began = trio.current_time()
        times = []
        for _ in range(9):
            await limiter.wait()
            times.append(trio.current_time() - began)
        assert times == pytest.approx([0, 0, 0, 0, 0, 0.5, 1.0, 1.5, 2.0])
        await trio.sleep(100)
        began = trio.current_time()
        for _ in range(6):
            await limiter.wait()
        assert trio.current_time() - began == pytest.approx(0.5)

    run(test)


def test_drained_bucket_has_no_burst():
    async def test():
        limiter = RateLimiter(rate=2.0, burst=5)
        limiter.drain()
        began = trio.current_time()
        for _ in range(4):
            await limiter.wait()
        assert trio.current_time() - began == pytest.approx(2.0)

    run(test)


def test_backoff_grows_with_jitter_and_ends():
    most = [0.0] * 9
    for _ in range(300):
        tried = [*backoff(10)]
        assert len(tried) == 9
        most = [max(pair) for pair in zip(most, tried, strict=True)]
    assert most == sorted(most[:6]) + most[6:]
    assert max(most) <= 20.0
    assert most[0] <= 0.5


def test_poll_intervals_grow_and_never_end():
    first = [pause for pause, _ in zip(poll_intervals(), range(20), strict=False)]
    assert first == sorted(first)
    assert first[-1] == 5.0


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


def test_for_each_completes_all_and_raises_the_first_error():
    async def test():
        done = []

        async def do(item):
            await trio.sleep(item)
            if item == 1:
                raise ValueError(item)
            done.append(item)

        with pytest.raises(ValueError, match="1"):
            await for_each([3, 1, 2], do)
        assert done == [2, 3]

    run(test)
