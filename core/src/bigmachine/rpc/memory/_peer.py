"""Whether a process may share memory with the one at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct


def may_share_memory(sock: socket.socket) -> bool:
    """Whether the process at the other end has the user and the memory cgroup of this one.

    Shared memory counts in the cgroup of who has written it, for as long as either keeps it: what
    one container keeps must not fill the limit of another.
    """
    size = struct.calcsize("3i")
    pid, user, _group = struct.unpack(
        "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    # A process of another pid namespace may have the number 0 here, and no cgroup that is known.
    return user == os.geteuid() and _memory_cgroup(pid) == _memory_cgroup(os.getpid())


def memory_cgroup(text: str) -> str:
    """Return the line of the memory cgroup in what ``/proc/PID/cgroup`` says; "" if none is."""
    lines = text.splitlines()
    for controller in ("memory", ""):  # of version 1, whose hosts may have version 2 beside it
        for line in lines:
            if controller in line.split(":")[1].split(","):
                return line
    return ""


def _memory_cgroup(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            return memory_cgroup(file.read())
    except OSError:
        return ""
