"""Wait for what other processes and tasks do, where nothing reports it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")


def until(condition: Callable[[], T], *, within: float = 60.0) -> T:
    """Wait until ``condition()`` is true, and return its value; fail after so many seconds."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still {value!r} after {within:g} s"
        time.sleep(0.01)
    return value


async def eventually(condition: Callable[[], T], *, within: float = 60.0, every: float = 0.01) -> T:
    """Do the same in a task; raise `trio.TooSlowError` if it takes longer."""
    with trio.fail_after(within):
        while not (value := condition()):
            await trio.sleep(every)
    return value
