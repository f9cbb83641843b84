"""Independent requests at once: all results, and always the same error of several."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from bigmachine.cloud import Parallel, for_each


def test_calls_overlap_and_each_returns_its_own_result():
    order: list[str] = []
    opened = trio.Event()

    async def first() -> int:
        await opened.wait()  # which only the second call opens
        order.append("first")
        return 1

    async def second() -> str:
        opened.set()
        order.append("second")
        return "two"

    async def main() -> tuple[int, str]:
        parallel = Parallel()
        one, two = parallel.add(first), parallel.add(second)
        with trio.fail_after(60):
            await parallel.run()
        return one.result, two.result

    assert trio.run(main) == (1, "two")
    assert order == ["second", "first"]


def test_error_of_the_call_added_first_is_raised_when_all_have_ended():
    ended: list[str] = []
    failed = trio.Event()

    async def late() -> None:
        await failed.wait()
        raise ValueError("added first")

    async def early() -> None:
        failed.set()
        raise KeyError("failed first")

    async def fine() -> None:
        await trio.lowlevel.checkpoint()
        ended.append("fine")

    async def main() -> None:
        parallel = Parallel()
        for call in (late, early, fine):
            parallel.add(call)
        with trio.fail_after(60):
            await parallel.run()

    with pytest.raises(ValueError, match="added first"):
        trio.run(main)
    assert ended == ["fine"]


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

    trio.run(test, clock=MockClock(autojump_threshold=0))
