"""What a process does before it forks machines, so that they have less to do."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from bigmachine.worker._rehearsal import rehearse

FOLDER = "/dev/fd" if sys.platform == "darwin" else "/proc/self/fd"


def opened() -> set[str]:
    """Return what would go on in a machine that is forked from this process."""
    threads = {f"thread {thread.ident}" for thread in threading.enumerate()}
    return threads | {f"descriptor {number}" for number in os.listdir(FOLDER)}


def handlers() -> Iterator[object]:
    """Yield what would be called in a machine that is forked from this process."""
    yield {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield signal.set_wakeup_fd(signal.set_wakeup_fd(-1))
    yield sys.get_asyncgen_hooks()


@pytest.mark.skipif(not os.path.isdir(FOLDER), reason="the open descriptors can't be listed")
def test_rehearsal_of_machine_is_answered_and_leaves_nothing_behind() -> None:
    before, handled = opened(), [*handlers()]
    assert rehearse() == 2
    assert opened() <= before  # threads of earlier tests may end meanwhile
    assert [*handlers()] == handled
