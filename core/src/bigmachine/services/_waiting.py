"""What a service's method gives up while it waits for a call of its own.

The threads of a machine say what they run (`thread_state`), and whatever waits in a thread for
another machine does so in a `waiting` block. Without that, two machines with one processor
each would wait for each other for ever.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol


class Pausable(Protocol):
    """A method that runs in a thread."""

    is_watched: bool
    """Whether it is named if it does nothing for long."""

    def pause(self) -> object:
        """Let others run in its place."""

    def resume(self) -> object:
        """Wait until it may run again."""


class _ThreadState(threading.local):
    runs: Pausable | None = None


thread_state = _ThreadState()
"""What the current thread ``runs``."""

_has_waited = False


def has_waited() -> bool:
    """Whether anything in this process has called another machine from a thread."""
    return _has_waited


def stop_watching() -> None:
    """Let the method of this thread do nothing for long: somebody debugs it."""
    if thread_state.runs is not None:
        thread_state.runs.is_watched = False


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Let other methods run while this thread waits; outside of a service's method, do nothing."""
    global _has_waited
    _has_waited = True
    method = thread_state.runs
    if method is None:
        yield
        return
    thread_state.runs = None  # a block inside this one has nothing to give up
    method.pause()
    try:
        yield
    finally:
        method.resume()
        thread_state.runs = method
