"""How a machine's process ends."""

from __future__ import annotations

import threading

import pytest

from bigmachine.worker._exit import ProcessExit
from bigmachine_local import LocalSystem


def test_machine_that_can_start_no_thread_ends_in_good_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    ProcessExit(LocalSystem()).limit(60)
