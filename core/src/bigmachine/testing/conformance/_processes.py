"""The processes of this computer that a test's machines, or whatever launched them, run in.

What a test starts carries a mark in its environment, and so does all that is started
from there. The kernel shows each process's environment as it was at its start; where
there is no ``/proc`` nothing is found, and the kit relies on its other witnesses.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

MARK = "BIGMACHINE_CONFORMANCE"
"""The variable that holds the mark."""

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class HostProcess:
    """A process: its number, when it started (numbers are used again), and what it runs."""

    pid: int
    started: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return _started(self.pid) == self.started

    def kill(self) -> None:
        """End it at once, if it still runs."""
        self._send(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it, until it is killed."""
        self._send(signal.SIGSTOP)

    def _send(self, number: signal.Signals) -> None:
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:
            return
        try:
            if self.is_alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)


def marked(mark: str) -> list[HostProcess]:
    """List the processes that were started with ``mark`` in their environment, but this one."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in _PROC.glob("[0-9]*"):
        pid = int(folder.name)
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                process = find(pid)
                if process is not None:
                    found.append(process)
    return found


def find(pid: int) -> HostProcess | None:
    """Describe the process ``pid``; None if there is none that runs."""
    started = _started(pid)
    if started is None:
        return None
    with contextlib.suppress(OSError):
        words = (_PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        return HostProcess(pid, started, b" ".join(words).decode(errors="replace")[:120])
    return None


def _started(pid: int) -> int | None:
    """Return when the process started, in clock ticks since the computer did."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The command's name comes second, in parentheses, and may hold anything.
    state, *fields = stat[stat.rindex(b")") + 2 :].split()
    return None if state in (b"Z", b"X") else int(fields[18])
