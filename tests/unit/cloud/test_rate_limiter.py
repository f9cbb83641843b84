"""A `RateLimiter` lets a burst of requests through, and then so many a second."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from bigmachine.cloud import RateLimiter


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
