"""A clock for time limits, which can be paused."""

from __future__ import annotations

import trio
import trio.testing
from trio.testing import MockClock

from bigmachine.machine._time_limits import TimeLimits
from bigmachine.rpc import TaskPool


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


class Call:
    """Something with a limit; when it expired."""

    expired_at: float | None = None

    def expire(self) -> None:
        assert self.expired_at is None
        self.expired_at = trio.current_time()


def test_calls_expire_each_at_its_time_unless_they_have_ended():
    async def test() -> None:
        limits = TimeLimits()
        calls = [Call() for _ in range(5)]
        async with trio.open_nursery() as nursery:
            tasks = TaskPool(nursery)
            began = trio.current_time()
            for call in calls[:3]:
                limits.limit(call, 3, tasks=tasks)
            await trio.testing.wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1  # for all of them
            limits.lift(calls[0], 3)
            await trio.sleep(1)
            limits.limit(calls[3], 1, tasks=tasks)
            with limits.paused():
                limits.limit(calls[4], 3, tasks=tasks)
                await trio.sleep(10)
            await trio.sleep(10)
            found = [call.expired_at and call.expired_at - began for call in calls]
            assert found == [None, 13, 13, 12, 14]
            again = Call()
            limits.limit(again, 3, tasks=tasks)
            await trio.sleep(3.5)
            assert again.expired_at == trio.current_time() - 0.5
            nursery.cancel_scope.cancel()

    run(test)


def test_call_expires_whatever_rounding_makes_of_its_time():
    async def test() -> None:
        limits = TimeLimits()
        async with trio.open_nursery() as nursery:
            tasks = TaskPool(nursery)
            for _ in range(20):
                with limits.paused():
                    await trio.sleep(10.1)
                call = Call()
                limits.limit(call, 0.3, tasks=tasks)
                await trio.sleep(0.7)
                assert call.expired_at is not None
            nursery.cancel_scope.cancel()

    run(test)


def test_calls_with_a_timeout_each_leave_no_task_when_they_have_ended():
    async def test() -> None:
        limits = TimeLimits()
        async with trio.open_nursery() as nursery:
            tasks = TaskPool(nursery)
            calls = [Call() for _ in range(1000)]
            for n, call in enumerate(calls):
                limits.limit(call, 100 + n, tasks=tasks)
                if n % 2:
                    await trio.testing.wait_all_tasks_blocked()
            for n, call in enumerate(calls[:999]):
                limits.lift(call, 100 + n)
            again = Call()
            limits.limit(again, 100, tasks=tasks)
            await trio.testing.wait_all_tasks_blocked()
            assert len(limits._limited) < 50
            began = trio.current_time()
            await trio.sleep(2000)
            assert not limits._limited
            assert (again.expired_at, calls[-1].expired_at) == (began + 100, began + 1099)
            assert not any(call.expired_at for call in calls[:999])
            nursery.cancel_scope.cancel()

    run(test)
