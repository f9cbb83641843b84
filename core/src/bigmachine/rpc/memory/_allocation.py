"""Memory for a large buffer that is received, or copied: it is writable."""

from __future__ import annotations

import contextlib
import mmap

# Above this, anonymous memory from the kernel beats a zeroed bytearray.
_MMAP_BYTES = 1 << 20

# How much is copied at once: that takes less than 0.3 ms, and nothing else runs meanwhile.
_PIECE_BYTES = 1 << 20


def allocate(size: int) -> memoryview:
    """Return so many zeros; `MemoryError`, `OSError` or `OverflowError` if there is no memory."""
    if size < _MMAP_BYTES:
        return memoryview(bytearray(size))
    if not hasattr(mmap, "MAP_ANONYMOUS"):  # Windows
        return memoryview(mmap.mmap(-1, size))
    # Private, not the default, so that huge pages serve: 64 MiB are then filled in 7 ms, not 50.
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


def copy_of(buffer: memoryview) -> memoryview:
    """Return a copy of bytes; raises what `allocate` does. Other threads run meanwhile."""
    size = len(buffer)
    copy = allocate(size)
    for at in range(0, size, _PIECE_BYTES):
        copy[at : at + _PIECE_BYTES] = buffer[at : at + _PIECE_BYTES]
    return copy
