from __future__ import annotations

import sys
import time

import pytest
import trio

from tests.support.clocks import jumping_clock


def compute() -> None:
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="reads the state of threads in /proc")
def test_clock_does_not_jump_while_a_thread_works() -> None:
    async def test() -> None:
        with trio.fail_after(10):
            await trio.to_thread.run_sync(compute, abandon_on_cancel=True)

    trio.run(test, clock=jumping_clock())
