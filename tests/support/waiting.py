"""Waiting for what other processes do, which nobody tells of."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], *, within: float = 60.0) -> None:
    """Wait until ``condition`` holds; fail after so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
