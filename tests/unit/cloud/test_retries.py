"""Requests are repeated while that may help, and a cancelled change until its outcome is known."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from bigmachine.cloud import RateLimiter, Retries

from .provider import Refused


class Provider:
    """Refuses a request with these errors, one after the other, and then accepts it."""

    def __init__(self, *errors: Refused) -> None:
        self.errors = [*errors]
        self.times: list[float] = []

    async def send(self) -> str:
        self.times.append(trio.current_time())
        with trio.CancelScope(shield=True):  # like a request in a thread
            await trio.sleep(1.0)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def limiter():
    return RateLimiter(rate=1.0, burst=5)


@pytest.fixture
def retries(limiter):
    return Retries(limiter, logger=logging.getLogger("bigmachine.test"))


def run(test):
    return trio.run(test, clock=MockClock(autojump_threshold=0))


def is_temporary(error, attempt):
    return error.code in ("UNKNOWN", "THROTTLED")


def throttled(seconds=0.0):
    error = Refused("THROTTLED")
    error.retry_after = seconds
    return error


@pytest.mark.parametrize("kind", ["read", "change"])
def test_request_is_repeated_after_delays_until_it_succeeds(retries, kind):
    async def test():
        provider = Provider(Refused("UNKNOWN"), Refused("UNKNOWN"))
        begin = trio.current_time()
        repeat = getattr(retries, kind)
        assert await repeat(provider.send, delays=[2.0, 3.0, 4.0], may_retry=is_temporary) == "done"
        assert [time - begin for time in provider.times] == pytest.approx([0.0, 3.0, 7.0])

    run(test)


@pytest.mark.parametrize("kind", ["read", "change"])
def test_last_error_is_raised_when_no_delay_is_left_or_it_would_not_help(retries, kind):
    async def test():
        repeat = getattr(retries, kind)
        provider = Provider(*[Refused("UNKNOWN") for _ in range(9)])
        with pytest.raises(Refused, match="UNKNOWN"):
            await repeat(provider.send, delays=[1.0, 1.0], may_retry=is_temporary)
        assert len(provider.times) == 3
        provider = Provider(Refused("UNKNOWN"), Refused("DENIED"))
        with pytest.raises(Refused, match="DENIED"):
            await repeat(provider.send, delays=[1.0] * 9, may_retry=is_temporary)
        provider = Provider(*[Refused("UNKNOWN") for _ in range(9)])
        with pytest.raises(Refused, match="UNKNOWN"):
            await repeat(provider.send, delays=[1.0] * 9, may_retry=lambda _, attempt: attempt < 4)
        assert len(provider.times) == 4

    run(test)


@pytest.mark.parametrize("kind", ["read", "change"])
def test_throttled_request_drains_the_limiter_and_waits_as_long_as_is_wanted(
    retries, limiter, kind
):
    async def test():
        provider = Provider(throttled(30.0))
        begin = trio.current_time()
        await getattr(retries, kind)(provider.send, delays=[2.0], may_retry=is_temporary)
        assert provider.times[1] - begin == pytest.approx(31.0)
        provider = Provider(throttled())
        await getattr(retries, kind)(provider.send, delays=[0.0], may_retry=is_temporary)
        drained = trio.current_time()
        await limiter.wait()
        await limiter.wait()
        assert trio.current_time() > drained  # no burst is left

    run(test)


def test_change_says_whether_an_earlier_attempt_may_have_been_carried_out(retries):
    async def test():
        for errors, is_unknown in ((["UNKNOWN", "DENIED"], True), (["THROTTLED", "DENIED"], False)):
            provider = Provider(*map(Refused, errors))
            with pytest.raises(Refused, match="DENIED") as caught:
                await retries.change(provider.send, delays=[1.0] * 9, may_retry=is_temporary)
            assert caught.value.is_outcome_unknown is is_unknown
            assert not caught.value.is_temporary  # it is denied again, whatever became of the first

    run(test)


def test_cancelled_change_goes_on_until_its_outcome_is_known(retries):
    async def test():
        provider = Provider(Refused("UNKNOWN"), Refused("UNKNOWN"))
        with trio.move_on_after(0.5) as scope:
            answer = await retries.change(provider.send, delays=[2.0] * 9, may_retry=is_temporary)
            assert answer == "done"
        assert scope.cancel_called

    run(test)


def test_cancelled_change_of_unknown_outcome_is_repeated_for_a_limited_time(retries):
    async def test():
        provider = Provider(*[Refused("UNKNOWN") for _ in range(99)])
        begin = trio.current_time()
        with trio.move_on_after(0.5), pytest.raises(Refused, match="UNKNOWN") as caught:
            await retries.change(provider.send, delays=[4.0] * 98, may_retry=is_temporary)
        assert caught.value.is_outcome_unknown
        assert 20.0 < trio.current_time() - begin < 40.0
        provider = Provider(*[Refused("UNKNOWN") for _ in range(9)])
        provider.errors[0].retry_after = 80.0
        begin = trio.current_time()
        with trio.move_on_after(0.5), pytest.raises(Refused, match="UNKNOWN"):
            await retries.change(provider.send, delays=[4.0] * 98, may_retry=is_temporary)
        assert trio.current_time() - begin == pytest.approx(1.0)

    run(test)


def test_cancelled_change_that_was_not_carried_out_ends_at_once(retries):
    async def test():
        provider = Provider(throttled(60.0))
        begin = trio.current_time()
        with trio.move_on_after(0.5) as scope:
            await retries.change(provider.send, delays=[4.0] * 9, may_retry=is_temporary)
        assert scope.cancelled_caught
        assert trio.current_time() - begin == pytest.approx(1.0)

    run(test)


def test_cancelled_change_whose_caller_takes_care_of_it_ends_at_once(retries):
    async def test():
        noted = []
        provider = Provider(Refused("UNKNOWN"))
        with trio.move_on_after(0.5) as scope:
            await retries.change(
                provider.send,
                delays=[4.0] * 9,
                may_retry=is_temporary,
                on_unknown=lambda: noted.append(trio.current_time()),
            )
        assert scope.cancelled_caught
        assert len(noted) == 1

    run(test)
