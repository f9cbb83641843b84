"""A pytest plugin that removes functions and modules that exist on Linux only.

Other packages are imported before, so this affects only our code.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys

import httpx  # noqa: F401
import hypothesis  # noqa: F401
import trio
import trio.testing  # noqa: F401

LINUX_ONLY = {
    os: "fork killpg getpgrp setsid memfd_create pidfd_open register_at_fork sched_getaffinity "
    "getloadavg uname set_blocking",
    socket: "TCP_NOTSENT_LOWAT SOCK_SEQPACKET send_fds recv_fds",
    mmap: "MAP_ANONYMOUS MAP_PRIVATE MADV_HUGEPAGE",
    signal: "pidfd_send_signal SIGKILL",
}

for module, names in LINUX_ONLY.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("resource", "fcntl", "pwd", "grp", "termios"):
    sys.modules[name] = None  # type: ignore[assignment]
sys.platform = "darwin"  # not win32: pytest would use other functions of Windows


def pytest_sessionfinish() -> None:
    sys.platform = "linux"  # pytest's last steps use it
