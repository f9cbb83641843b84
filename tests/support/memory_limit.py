"""A limit of what a process maps, as containers and batch systems set it."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path


def limit_memory(room_bytes: int) -> tuple[int, int]:
    """Let this process map only so many bytes more; return the limits that it had."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + room_bytes, limits[1]))
    return limits


@contextlib.contextmanager
def memory_limit(room_bytes: int) -> Iterator[None]:
    """Do so for the block."""
    limits = limit_memory(room_bytes)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
