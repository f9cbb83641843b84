"""A machine's process as its driver sees it, and what launches such processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import trio

from bigmachine.boot import MachineSpec

from ._descriptors import close_in_children, pipe
from ._log import Log


class Process(ABC):
    """One running machine: its process group, its log, and the lifeline it hangs on."""

    def __init__(self, pid: int, order: Order) -> None:
        self.pid = pid
        self.log = Log(order.log)
        self.is_killed = False  # by us
        self._lifeline = order.lifeline
        self._waiting = trio.Lock()
        self._exited = False
        self._status: int | None = None

    async def wait(self) -> int | None:
        """Wait for the process to end; return its status, negative if it is a signal.

        None: it has ended, but the status is lost. Afterwards nothing the machine
        started in its process group runs any more, and nothing is held for it but
        the rest of its log. Any number of tasks may wait.
        """
        async with self._waiting:
            if not self._exited:
                self._status = await self._wait_exit()
                self._exited = True
                self._lifeline.close()
                self.log.finish()
        return self._status

    def kill(self) -> None:
        """Kill the machine and its process group, if it still runs."""
        if not self._exited:
            self.is_killed = True
            self._kill_group()

    @abstractmethod
    async def _wait_exit(self) -> int | None:
        """Wait for the end, kill what is left of the group, reap. Only called once at a time."""

    @abstractmethod
    def _kill_group(self) -> None: ...


class Order:
    """A machine about to be launched, with its socket and the pipes that tie it to us.

    The socket is listening already, so a connection made at once just waits; and
    since the machine gets the socket itself, nobody can take its port meanwhile.
    """

    def __init__(self, machine: MachineSpec, listener: socket.socket) -> None:
        self.machine = machine
        self.listener = close_in_children(listener)
        self.address = _address(listener)
        self.log, self.log_end = pipe()
        self.lifeline_end, self.lifeline = pipe()
        self.process: Process | None = None

    def close(self) -> None:
        """Close the machine's ends; ours too if it wasn't launched."""
        self.listener.close()
        self.log_end.close()
        self.lifeline_end.close()
        if self.process is None:
            self.log.close()
            self.lifeline.close()


class Launcher(Protocol):
    """A way to make processes."""

    async def launch(self, orders: Sequence[Order]) -> None:
        """Launch a process for each order and set its ``process``.

        Raises `StartError`, or is cancelled, with some launched and some not.
        """

    async def close(self) -> None:
        """Let go of everything but the processes. Fine to call again."""


def kill_group(pid: int) -> None:
    """Send SIGKILL to the group that ``pid``, which must not be reaped yet, leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for zombies
        os.killpg(pid, signal.SIGKILL)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
