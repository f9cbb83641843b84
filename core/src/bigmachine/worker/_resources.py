"""Measures the host that a machine runs on: memory, disk and load.

On Linux from /proc and the cgroup file systems, elsewhere from `os.sysconf`, as far as
possible. A container's memory limit counts as the host's memory, since the kernel kills
processes that exceed it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

from .._values import DiskInfo, LoadInfo, MemoryInfo
from ..metrics._process import resident_bytes


def memory() -> MemoryInfo:
    """Return the memory of the host, or of the smallest container this process is in."""
    total, available = _host_memory()
    for limit, used in _cgroup_memory(below=total):
        if limit < total:
            total, available = limit, max(0, min(available, limit - used))
    return MemoryInfo(total_bytes=total, available_bytes=available, process_bytes=resident_bytes())


def disk() -> DiskInfo:
    """Return the space in the file system of the temporary directory."""
    path = tempfile.gettempdir()
    usage = shutil.disk_usage(path)
    return DiskInfo(path=path, total_bytes=usage.total, free_bytes=usage.free)


def load() -> LoadInfo:
    """Return the host's load averages; zeros where it keeps none."""
    return LoadInfo(*os.getloadavg()) if hasattr(os, "getloadavg") else LoadInfo(0, 0, 0)


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _host_memory() -> tuple[int, int]:
    with contextlib.suppress(OSError, KeyError, ValueError):
        lines = _text("/proc/meminfo").splitlines()
        kilobytes = {
            name: int(rest.split()[0]) for name, _, rest in (x.partition(":") for x in lines)
        }
        return kilobytes["MemTotal"] << 10, kilobytes["MemAvailable"] << 10
    with contextlib.suppress(AttributeError, OSError, ValueError):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return total, total  # there is no portable way to know how much is free
    return 0, 0


def _cgroup_memory(*, below: int) -> Iterator[tuple[int, int]]:
    """Yield (limit, used) in bytes for each memory cgroup above this process with a limit.

    Limits of ``below`` or more are left out, since each file takes time, and each keepalive reads
    them: version 1 has a limit everywhere, by default 8 EiB.
    """
    with contextlib.suppress(OSError):
        for line in _text("/proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                root = "/sys/fs/cgroup"
                names = ("memory.max", "memory.current", "memory.stat")
            elif "memory" in controllers.split(","):
                root = "/sys/fs/cgroup/memory"
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
            else:
                continue
            folder = (root + path).rstrip("/")
            while len(folder) >= len(root):
                with contextlib.suppress(OSError, ValueError):  # no limit there: "max", or no file
                    if (limit := int(_text(f"{folder}/{names[0]}"))) < below:
                        used = int(_text(f"{folder}/{names[1]}"))
                        yield limit, used - _file_cache(f"{folder}/{names[2]}")
                folder = folder.rpartition("/")[0]


def _file_cache(stat: str) -> int:
    """Return the bytes of page cache a cgroup could give back before it kills."""
    values = dict(line.split() for line in _text(stat).splitlines())
    return int(values.get("total_inactive_file", values.get("inactive_file", 0)))


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()
