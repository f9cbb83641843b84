"""What parallel methods count in their processes, on its way to the machine's metrics."""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
from collections.abc import Callable

from ....metrics._registry import REGISTRY
from ..._frames import Buffer, Payload

REPORT = 0
"""The kind of a report; a frame has none like it."""

_SECONDS = 1.0  # between the reports of a method that runs


class ProcessReports:
    """Sends what was counted since the last time: each second, and when a method ends.

    So a long call shows its progress, and one whose process is killed loses a second of it.
    ``send`` is not called between two methods, when nobody reads.
    """

    def __init__(self, send: Callable[[int, Payload], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._is_running = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Send reports from now on, because a method begins."""
        self._is_running.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
            with contextlib.suppress(RuntimeError):  # a limit of the system
                self._thread.start()

    def end(self) -> None:
        """Send the last report; `OSError` if the machine is gone."""
        with self._lock:
            self._is_running.clear()
            self._report()

    def _run(self) -> None:
        while self._is_running.wait():
            time.sleep(_SECONDS)
            with self._lock, contextlib.suppress(OSError):
                if self._is_running.is_set():
                    self._report()

    def _report(self) -> None:
        if taken := REGISTRY.take():
            data = pickle.dumps(taken, pickle.HIGHEST_PROTOCOL)
            self._send(REPORT, Payload((data,), (), len(data), len(data)))


def absorb_report(data: Buffer) -> None:
    """Add a report to this process's own metrics."""
    REGISTRY.absorb(pickle.loads(data))
