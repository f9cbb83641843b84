"""A machine's process, seen from its driver, and the interface of what launches it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import trio

from bigmachine.process import close_in_children
from bigmachine.system import MachineSpec

from ._descriptors import pipe
from ._log import Log

# Of a processor. Threads that only wait for the interpreter use up to a tenth; one that computes
# gets as little as this on a busy computer.
_BUSY_SHARE = 0.2
_MAX_VARIABLE_BYTES = 128 << 10  # with its name and a NUL: MAX_ARG_STRLEN of linux/binfmts.h


class Process(ABC):
    """One running machine: its process group, log and lifeline."""

    def __init__(self, pid: int, pending: PendingProcess) -> None:
        self.pid = pid
        self.log = Log(pending.log)
        self.is_killed = False  # by the driver
        self._lifeline = pending.lifeline
        self._waiting = trio.Lock()
        self._has_exited = False
        self._status: int | None = None
        self._usage = _Usage(time.monotonic(), 0.0, 0.0)

    async def wait(self) -> int | None:
        """Wait for the process to end; return its exit status, or minus a signal's number.

        None means that the status is lost. When this returns, no process of the machine's
        process group runs, and only the rest of its log is still held. Several tasks may wait.
        """
        async with self._waiting:
            if not self._has_exited:
                self._status = await self._wait_exit()
                self._has_exited = True
                self._lifeline.close()
                self.log.finish()
        return self._status

    def kill(self) -> None:
        """Kill the machine and its process group, if it still runs."""
        if not self._has_exited:
            self.is_killed = True
            self._kill_group()

    def is_busy(self) -> bool:
        """Whether it has computed since this was last called, or would have, given a processor."""
        before, now = self._usage, _Usage.of(self.pid)
        self._usage = now
        # Threads that have ended are no longer in the sum of what they waited.
        wanted = now.computed - before.computed + max(0.0, now.waited - before.waited)
        return wanted > _BUSY_SHARE * (now.at - before.at)

    @abstractmethod
    async def _wait_exit(self) -> int | None:
        """Wait for the end, kill the rest of the group, and reap. Calls never overlap."""

    @abstractmethod
    def _kill_group(self) -> None: ...


class PendingProcess:
    """A machine's process before its launch: its listening socket, log pipe and lifeline.

    The socket already listens, so an early connection merely waits. The machine inherits the
    socket, so no other process can take the port meanwhile. ``environ`` are its environment
    variables, but for those that were asked for.
    """

    def __init__(
        self, machine: MachineSpec, listener: socket.socket, *, environ: Mapping[str, str]
    ) -> None:
        self.machine = machine
        self.listener = close_in_children(listener)
        self.address = _address(listener)
        self.log, self.log_end = pipe()
        self.lifeline_end, self.lifeline = pipe()
        self.process: Process | None = None
        # The worker sets these once more, so the kernel's limit is none for them.
        asked = {k: v for k, v in machine.request.environ.items() if _fits(k, v)}
        self.environ = {**environ, **asked}
        self.cwd = _current_folder()

    async def send_config(self) -> None:
        """Send the configuration through the lifeline, which is its standard input.

        If the machine has ended without reading it, its exit status says why.
        """
        self.lifeline_end.close()  # the machine has its own; with ours, its end would go unseen
        os.set_blocking(self.lifeline.number, False)
        rest = memoryview(self.machine.config)
        with contextlib.suppress(BrokenPipeError):
            while rest:
                try:
                    rest = rest[os.write(self.lifeline.number, rest) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self.lifeline)

    def close(self) -> None:
        """Close the machine's ends, and the driver's ends if it was not launched."""
        self.listener.close()
        self.log_end.close()
        self.lifeline_end.close()
        if self.process is None:
            self.log.close()
            self.lifeline.close()


class Launcher(Protocol):
    """Launches processes."""

    async def launch(self, launches: Iterable[PendingProcess]) -> None:
        """Launch the processes, each as soon as it is prepared, and set the ``process`` of each.

        When this raises `StartError`, or what ``launches`` raises, or is cancelled, some may be
        launched.
        """

    async def close(self) -> None:
        """Release everything but the processes. Idempotent."""


def kill_group(pid: int) -> None:
    """Send SIGKILL to the process group of ``pid``, which must not be reaped yet."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for zombies
        os.killpg(pid, signal.SIGKILL)


class _Usage(NamedTuple):
    """What a process has used of the processors until now, in seconds; 0 where that is unknown."""

    at: float  # on the monotonic clock
    computed: float
    waited: float  # for a processor; of the threads that still run

    @classmethod
    def of(cls, pid: int) -> _Usage:
        computed = waited = 0.0
        folder = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError, ValueError, IndexError):
            # Fields 14 and 15 of proc(5); the second one, in parentheses, may hold anything.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            computed = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            # Linux's sched-stats.rst: the second number is the time on a run queue, in ns.
            for schedstat in folder.glob("task/*/schedstat"):
                waited += int(schedstat.read_text().split()[1]) / 1e9
        return cls(time.monotonic(), computed, waited)


def _fits(name: str, value: str) -> bool:
    """Whether a new program can be given this environment variable."""
    return len(os.fsencode(f"{name}={value}")) < _MAX_VARIABLE_BYTES


def _current_folder() -> str:
    """Return the current folder, or the root if it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return os.sep


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
