"""Whether the kernel killed a process because memory ran out.

Such a process ends by SIGKILL, like one that somebody killed. Two sources distinguish them, if
they are readable: the kernel's log names each process it kills, and a memory cgroup counts its
kills (``oom_kill``, in ``memory.events`` of version 2 and ``memory.oom_control`` of version 1).
"""

from __future__ import annotations

import contextlib
import os
import re

from ._descriptors import Descriptor

_CGROUPS = "/sys/fs/cgroup"
_RECORD_BYTES = 1 << 14  # the kernel returns whole records only; they have at most 8 KiB
_KILLED = re.compile(rb"Killed process (\d+)|oom-kill:.*,pid=(\d+)")
_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


class OomWatch:
    """Watches for out-of-memory kills, from its creation on."""

    def __init__(self) -> None:
        self._kernel_log = _open_kernel_log()
        self._killed: set[int] = set()  # pids that the kernel's log names as killed
        self._results: dict[int, bool] = {}
        self._counters: dict[int, str] = {}  # by pid: the cgroup's file that counts kills
        self._attributed: dict[str, int] = {}

    def watch(self, pid: int) -> None:
        """Watch a process that has just started."""
        counter = _counter(pid)
        if counter is not None:
            self._counters[pid] = counter
            if counter not in self._attributed:
                self._attributed[counter] = _count(counter)

    def is_victim(self, pid: int) -> bool:
        """Whether a watched process that ended by SIGKILL was killed by the kernel."""
        if pid not in self._results:
            self._read_kernel_log()
            is_victim = pid in self._killed
            if (counter := self._counters.get(pid)) is not None:
                is_victim = is_victim or _count(counter) > self._attributed[counter]
                # Each counted kill has one victim: it must not explain a later SIGKILL.
                self._attributed[counter] += is_victim
            self._results[pid] = is_victim
        return self._results[pid]

    def forget(self, pid: int) -> None:
        """Stop watching: the pid may be reused."""
        self._counters.pop(pid, None)
        self._results.pop(pid, None)
        self._killed.discard(pid)

    def close(self) -> None:
        """Close the kernel's log."""
        if self._kernel_log is not None:
            self._kernel_log.close()
            self._kernel_log = None

    def _read_kernel_log(self) -> None:
        while self._kernel_log is not None:
            try:
                record = os.read(self._kernel_log.number, _RECORD_BYTES)
            except BlockingIOError:
                return
            except BrokenPipeError:  # the kernel has overwritten unread records
                continue
            except OSError:
                self.close()
                return
            if match := _KILLED.search(record):
                self._killed.add(int(match[1] or match[2]))


def _open_kernel_log() -> Descriptor | None:
    """Open the kernel's log at its end, if permitted (mostly for root)."""
    with contextlib.suppress(OSError):
        kernel_log = Descriptor(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        os.lseek(kernel_log.number, 0, os.SEEK_END)
        return kernel_log
    return None


def _counter(pid: int) -> str | None:
    """Find the file that counts the kills in the memory cgroup of ``pid``."""
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    cgroups = {kinds: path.lstrip("/") for _, kinds, path in (line.split(":", 2) for line in lines)}
    # In a container the path may be the host's, and its cgroup mounted as the root.
    if "memory" in cgroups:
        root, path, name = f"{_CGROUPS}/memory", cgroups["memory"], "memory.oom_control"
    else:
        root, path, name = _CGROUPS, cgroups.get("", ""), "memory.events"
    for counter in (f"{root}/{path}/{name}", f"{root}/{name}"):
        if os.path.isfile(counter):
            return counter
    return None


def _count(counter: str) -> int:
    with contextlib.suppress(OSError), open(counter) as file:
        if match := _COUNT.search(file.read()):
            return int(match[1])
    return 0
