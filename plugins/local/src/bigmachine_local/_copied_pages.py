"""The memory that all machines write to: each copies it at once, rather than page by page.

A machine shares the zygote's memory until it writes to it, and Python writes wherever it counts
references. So each copies some 2,000 pages while it starts, nearly the same ones as the others.
One by one, with a page fault for each, they take a third longer than all at once.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import struct
import time
from collections.abc import Callable
from typing import Any

_PROCESS_MADVISE = 440  # its number; since 6.13, a process may give itself any advice
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of linux/mman.h
_MAX_RANGES = 1024  # UIO_MAXIOV of linux/uio.h; there are some 900
_MAX_SHARE = 0.5  # of all pages; a machine that has copied more has done so for its services
_RANGE = struct.Struct("@NN")  # iovec of readv(2)
_ENTRY_BYTES = 8  # for each page, in /proc/PID/pagemap
_COPIED = re.compile(rb"\x81+")  # their highest bytes: it is in memory, and in one process only


class CopiedPages:
    """Which of this process's pages its forked children copy, as one of them shows.

    It shows that ``start_seconds`` after it was forked: what it copies later, others may not need.
    Where Linux can't tell, or can't copy them at once, this does nothing.
    """

    def __init__(self, start_seconds: float = 0.5) -> None:
        self._start_seconds = start_seconds
        self._example: tuple[int, float] | None = None  # its pid, and when to look
        self._ranges = b""
        self._syscall: Callable[..., Any] | None = None
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            self._syscall = ctypes.CDLL(None).syscall

    def milliseconds_left(self) -> int | None:
        """Return how long it is until `look` has something to do; None if it has not."""
        if self._example is None:
            return None
        return max(0, math.ceil((self._example[1] - time.monotonic()) * 1e3))

    def look(self) -> None:
        """Look what the example has copied, once it has started."""
        if self._example is not None and not self.milliseconds_left():
            child, self._example = self._example[0], None
            with contextlib.suppress(OSError):
                self._ranges = _copied_by(child)

    def in_parent(self, child: int) -> None:
        """Take note of a new child; the first one that lives so long is the example."""
        if self._example is None and not self._ranges:
            self._example = child, time.monotonic() + self._start_seconds

    def in_child(self) -> None:
        """Copy the pages."""
        if self._syscall is not None and self._ranges:
            # Linux has no such descriptors before 5.3, and some sandboxes forbid them.
            with contextlib.suppress(OSError, AttributeError):
                pidfd = os.pidfd_open(os.getpid())
                count = len(self._ranges) // _RANGE.size
                self._syscall(_PROCESS_MADVISE, pidfd, self._ranges, count, _POPULATE_WRITE, 0)
                os.close(pidfd)


def _copied_by(child: int) -> bytes:
    """Return the longest ranges of our pages that a child has for itself, as iovecs."""
    page = os.sysconf("SC_PAGESIZE")
    ranges, pages = [], 0
    with (
        open("/proc/self/maps", "rb") as maps,  # names of files have any encoding
        open(f"/proc/{child}/pagemap", "rb", buffering=0) as pagemap,
    ):
        for line in maps.readlines():  # before this process maps memory for itself
            bounds, access, *_ = line.split(maxsplit=2)
            if access != b"rw-p":
                continue
            begin, end = (int(bound, 16) // page for bound in bounds.split(b"-"))
            pages += end - begin
            pagemap.seek(begin * _ENTRY_BYTES)
            entries = pagemap.read((end - begin) * _ENTRY_BYTES)
            for found in _COPIED.finditer(entries[_ENTRY_BYTES - 1 :: _ENTRY_BYTES]):
                ranges.append((len(found[0]), begin + found.start()))
    if sum(count for count, _ in ranges) > _MAX_SHARE * pages:
        return b""
    longest = sorted(ranges)[-_MAX_RANGES:]
    return b"".join(_RANGE.pack(first * page, count * page) for count, first in longest)
