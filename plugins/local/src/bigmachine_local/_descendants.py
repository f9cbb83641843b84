"""The zygote's machines, and whatever they start: reaped when it ends, killed with the zygote.

The zygote is a *subreaper* (see prctl(2)): when a process that a machine has started loses its
parent, it becomes the zygote's child, even if it has left the machine's process group. So by
killing its children, until there are none, the zygote ends all of its descendants.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_SET_CHILD_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
_KILL_SECONDS = 10.0  # SIGKILL takes ms; longer only if the kernel is stuck
_PAUSE_SECONDS = 0.002


class Descendants:
    """The machines of this process, which is their parent, and its other descendants."""

    def __init__(self) -> None:
        self.machines: set[int] = set()
        self.changed, wake = os.pipe()
        """Readable when a child may have ended."""
        os.set_blocking(self.changed, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        _become_subreaper()

    def reap_orphans(self) -> None:
        """Reap the children that have ended, except for machines."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.changed, 4096)
        for pid in _children() - self.machines:
            _wait(pid)

    def reap(self, pid: int) -> int:
        """Kill the rest of an ended machine's process group; return its exit status."""
        _kill_group(pid)  # the zombie keeps its pid from reuse
        self.machines.discard(pid)
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """Kill all, and wait for their end."""
        for pid in self.machines:
            _kill_group(pid)
        deadline = time.monotonic() + _KILL_SECONDS
        # A child's pid is not reused before it is reaped here.
        while (children := _children() | self.machines) and time.monotonic() < deadline:
            for pid in children:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            ended = {pid for pid in children if _wait(pid)}
            self.machines -= ended
            if not ended:
                time.sleep(_PAUSE_SECONDS)


def _become_subreaper() -> None:
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> set[int]:
    """Return this process's children, zombies included."""
    try:
        # This process has one thread.
        return set(map(int, Path("/proc/thread-self/children").read_text().split()))
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        return {pid for pid, parent in _parents() if parent == os.getpid()}


def _parents() -> list[tuple[int, int]]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # Field 4 of proc(5); the second one, in parentheses, may hold anything.
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            found.append((int(stat.parent.name), int(fields[1])))
    return found


def _wait(pid: int) -> bool:
    """Reap a child if it has ended; return whether it is gone."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # just forked, and not a group leader yet
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
