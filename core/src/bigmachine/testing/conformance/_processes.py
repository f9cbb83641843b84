"""The processes of this computer that a test's machines, or whatever launched them, run in.

What a test starts carries a mark in its environment, and so does all that is started
from there. The kernel shows each process's environment as it was at its start; where
there is no ``/proc`` nothing is found, and the kit relies on its other witnesses.

As a program, this module is the kit's guardian (`_guardian`). So it imports the standard
library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = "BIGMACHINE_CONFORMANCE"
"""The variable that holds the mark."""

_PROC = Path("/proc")
_POLL = 0.05  # seconds
_FLAGS, _STARTED = 6, 19  # places in `_fields`
_EXITING = 0x4  # PF_EXITING of the kernel's sched.h


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
        return _stat(self.pid)[1] == self.started

    @property
    def is_dying(self) -> bool:
        """Whether it was killed, or exits: it is gone in a moment, whatever anybody does."""
        try:
            flags = int(_fields(self.pid)[_FLAGS])
            status = (_PROC / str(self.pid) / "status").read_text(errors="replace")
        except (OSError, IndexError):
            return True
        pending = [int(line.split()[1], 16) for line in status.splitlines() if "Pnd:" in line]
        is_killed = any(signals & 1 << (signal.SIGKILL - 1) for signals in pending)
        return is_killed or bool(flags & _EXITING)

    @property
    def is_frozen(self) -> bool:
        """Whether it is stopped, as by SIGSTOP."""
        state, started = _stat(self.pid)
        return started == self.started and state == "T"

    @property
    def sockets(self) -> set[str]:
        """The sockets that it has open, by the names that the kernel gives them."""
        return {link for link in self.descriptors if link.startswith("socket:")}

    @property
    def descriptors(self) -> list[str]:
        """What its open file descriptors are, as the kernel shows them."""
        return list(_links(self.pid))

    @property
    def threads(self) -> int:
        """How many threads it has."""
        try:
            return len(os.listdir(_PROC / str(self.pid) / "task"))
        except OSError:
            return 0

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


def marked(*marks: str) -> list[HostProcess]:
    """List the processes that were started with one of ``marks``, but this one."""
    wanted = {f"{MARK}={mark}".encode() for mark in marks}
    found = []
    for folder in _PROC.glob("[0-9]*"):
        pid = int(folder.name)
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if not wanted.isdisjoint((folder / "environ").read_bytes().split(b"\0")):
                process = find(pid)
                if process is not None:
                    found.append(process)
    return found


def find(pid: int) -> HostProcess | None:
    """Describe the process ``pid``; None if there is none that runs."""
    _, started = _stat(pid)
    if started is None:
        return None
    with contextlib.suppress(OSError):
        words = (_PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        return HostProcess(pid, started, b" ".join(words).decode(errors="replace")[:120])
    return None


def children() -> list[int]:
    """List the child processes of this process, also those that nobody has waited for."""
    found = []
    for path in _PROC.glob("self/task/*/children"):
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in path.read_text().split()]
    return found


def _stat(pid: int) -> tuple[str, int | None]:
    """Return the process's state, and when it started, in clock ticks since the computer did.

    That is None for a process that has ended, even if nobody has waited for it.
    """
    try:
        fields = _fields(pid)
    except OSError:
        return "", None
    return fields[0], None if fields[0] in ("Z", "X") else int(fields[_STARTED])


def _fields(pid: int) -> list[str]:
    """Return what the kernel says of a process, from its state on; see proc_pid_stat(5)."""
    stat = (_PROC / str(pid) / "stat").read_bytes()
    # The command's name comes second, in parentheses, and may hold anything.
    return stat[stat.rindex(b")") + 2 :].decode().split()


def _links(pid: int) -> Iterator[str]:
    folder = _PROC / str(pid) / "fd"
    with contextlib.suppress(OSError):
        for number in os.listdir(folder):
            with contextlib.suppress(OSError):
                yield os.readlink(folder / number)


def _guard(folder: str, lines: Iterable[bytes]) -> None:
    """Wait for the end of ``lines``, each a mark and a time; then end what has these marks.

    A process that cleans up gets its time. One that is frozen does not.
    """
    times = {}
    for line in lines:
        mark, _, grace = line.decode().partition(" ")
        times[mark] = float(grace)
    _end(times)
    shutil.rmtree(folder, ignore_errors=True)


def _end(times: Mapping[str, float]) -> None:
    deadline = time.monotonic() + max(times.values(), default=0.0)
    while left := marked(*times):
        is_late = time.monotonic() > deadline
        for process in left:
            if is_late or process.is_frozen:
                process.kill()
        time.sleep(_POLL)


if __name__ == "__main__":
    _guard(sys.argv[1], sys.stdin.buffer)
