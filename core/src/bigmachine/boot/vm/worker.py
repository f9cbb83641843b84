"""The worker's process, and what the boot program hears of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from typing import Any, Callable

from .common import HEARTBEAT_VARIABLE, LOG_VARIABLE, Json
from .log import LogFiles

LAST_LINES_SECONDS = 1.0


class WorkerProcess:
    """The worker, on the listening socket ``fd``; its input ends when this program does.

    ``heard`` is called whenever the worker's driver is heard. What is printed goes to the log.
    """

    def __init__(self, start: Json, fd: int, *, log: LogFiles, heard: Callable[[], None]) -> None:
        self._log = log
        self._heard = heard
        self._was_up = False  # the driver has reached it
        heartbeat, beats = os.pipe()
        self._process = subprocess.Popen(
            [start["python"], "-P", "-m", "bigmachine.worker", "--listen", f"fd:{fd}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[fd, beats],
            cwd=start["cwd"],
            start_new_session=True,
            env={
                **os.environ,
                HEARTBEAT_VARIABLE: str(beats),
                LOG_VARIABLE: log.folder,
                "VIRTUAL_ENV": start["prefix"],
            },
        )
        os.close(beats)
        self._heartbeat = heartbeat
        self._copying = threading.Thread(
            target=self._copy, args=(self._process.stdout,), daemon=True
        )

    def run(self, config: bytes) -> int:
        """Give it its configuration, and wait for its end; return its exit status."""
        process = self._process
        assert process.stdin is not None
        process.stdin.write(config)
        process.stdin.flush()
        self._copying.start()
        threading.Thread(target=self._hear, args=(self._heartbeat,), daemon=True).start()
        status = process.wait()
        self._copying.join(LAST_LINES_SECONDS)  # what it started may hold its output open for ever
        return status

    def end(self, grace: float) -> None:
        """End it, and what it has started: the host may stay on.

        By SIGTERM, if there is a ``grace`` in seconds, and by SIGKILL after it.
        """
        if grace and self._copying.is_alive() and self._process.poll() is None:
            self._process.terminate()
            self._copying.join(grace)  # its output ends with it
        with contextlib.suppress(OSError):  # all have ended
            os.killpg(self._process.pid, signal.SIGKILL)

    def _copy(self, output: Any) -> None:
        while data := output.read1(1 << 16):
            # Once the driver reads the log, a slow console must not hold up who prints.
            self._log.write(data, not self._was_up)

    def _hear(self, heartbeat: int) -> None:
        while os.read(heartbeat, 4096):
            self._was_up = True
            self._heard()
