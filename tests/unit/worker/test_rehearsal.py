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


def state() -> Iterator[object]:
    """Yield what would be wrong in a machine that is forked from this process."""
    yield {thread.name for thread in threading.enumerate()}
    yield {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield signal.set_wakeup_fd(signal.set_wakeup_fd(-1))
    yield sys.get_asyncgen_hooks()
    yield os.listdir(FOLDER)


@pytest.mark.skipif(not os.path.isdir(FOLDER), reason="the open descriptors can't be listed")
def test_rehearsal_of_machine_is_answered_and_leaves_nothing_behind() -> None:
    before = [*state()]
    assert rehearse() == 2
    assert [*state()] == before
