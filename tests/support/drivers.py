"""A driver in a process of its own, which a test can kill."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.processes import marked

IDLE = "from bigmachine.boot import Driver; print(Driver.here(), flush=True); input()"
"""A program that prints what names it as a driver, and waits."""


class DriverProcess:
    """A driver that runs, of which a test reads what it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def read_line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the driver failed"
        return line.rstrip("\n")

    def read_pids(self) -> list[int]:
        """Read a line of process ids."""
        return [int(pid) for pid in self.read_line().split()]

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self, timeout: float = 60.0) -> int:
        """Wait until it ends by itself; return its status."""
        return self.process.wait(timeout)


@contextlib.contextmanager
def driver(
    *arguments: str,
    cwd: Path = ROOT,
    environ: Mapping[str, str] | None = None,
    kills_leftovers: bool = True,
) -> Iterator[DriverProcess]:
    """Run Python with ``arguments``; afterwards kill it and, by a mark, all that it started.

    Say ``kills_leftovers=False`` where a process that it started has to free something.
    """
    name, value = "BIGMACHINE_TEST_DRIVER", secrets.token_hex(8)
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **(environ or {}), name: value},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield DriverProcess(process)
        finally:
            process.kill()
            for pid in marked(f"{name}={value}") if kills_leftovers else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
