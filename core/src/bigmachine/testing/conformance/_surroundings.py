"""What a process has around it, and what a backend must leave as it is in the driver's process."""

from __future__ import annotations

import locale
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

Surroundings = Mapping[str, object]


def surroundings() -> Surroundings:
    """Describe this process, as the calling thread sees it, in parts that have names."""
    found: dict[str, object] = {
        "the working folder": os.getcwd(),
        "the umask": _umask(),
        "the signal mask": frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "the priority": os.getpriority(os.PRIO_PROCESS, 0),
        "the processors": frozenset(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "sys.argv": list(sys.argv),
        "sys.path": list(sys.path),
        "sys.stdin": sys.stdin,
        "sys.stdout": sys.stdout,
        "sys.stderr": sys.stderr,
        "sys.excepthook": sys.excepthook,
        "threading.excepthook": threading.excepthook,
        "the recursion limit": sys.getrecursionlimit(),
        "the timeout of sockets": socket.getdefaulttimeout(),
        "the locale": locale.setlocale(locale.LC_ALL),
        "the time zone": time.tzname,
        "the root logger": (logging.root.level, tuple(logging.root.handlers)),
    }
    for number in signal.valid_signals():
        found[f"the handler of signal {int(number)}"] = signal.getsignal(number)
    for name, text in os.environ.items():
        found[f"the environment variable {name}"] = text
    return found


def changes(before: Surroundings, after: Surroundings) -> list[str]:
    """Name the parts that are different."""
    names = sorted({*before, *after})
    return [name for name in names if before.get(name) != after.get(name)]


def _umask() -> str:
    # By the kernel: to ask `os.umask` is to change it, for all threads.
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("Umask:")), "")
