"""The watchdog: ends the VM when its driver is silent, or its lifetime is over."""

from __future__ import annotations

import threading
import time
from typing import Callable

from .common import Configuration

WORKER_SECONDS = 5.0  # for the worker to end itself, once its driver is silent


class Watchdog:
    """Calls ``end`` with the reason, from a thread of its own."""

    def __init__(self, config: Configuration, end: Callable[[str], None]) -> None:
        self._end = end
        self._silence_seconds = config.silence_seconds
        self._limit = time.monotonic() + (config.lifetime_seconds or float("inf"))
        self._deadline = time.monotonic() + config.contact_seconds
        self._reason = f"no driver called in {config.contact_seconds:g} s"

    def start(self) -> None:
        """Start to watch."""
        threading.Thread(target=self._watch, daemon=True).start()

    def heard(self) -> None:
        """Note that the driver is alive: it called, or bytes of an upload arrived."""
        self._deadline = time.monotonic() + self._silence_seconds
        self._reason = f"the driver was silent for {self._silence_seconds:g} s"

    def leave_to_worker(self) -> None:
        """Let the worker watch the driver first; act only if the worker hangs."""
        self._silence_seconds += WORKER_SECONDS
        self.heard()

    def _watch(self) -> None:
        while True:
            now = time.monotonic()
            if now >= self._limit:
                self._end("its lifetime is over")
            if now >= self._deadline:
                self._end(self._reason)
            time.sleep(max(0.05, min(self._limit - now, self._deadline - now, 1.0)))
