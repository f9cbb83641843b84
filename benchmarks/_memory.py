"""Free memory, as fast as it can be.

The host of a virtual machine may take back memory that is free there. It gives it again page by
page, when somebody writes to it: to fill 64 MiB then takes 140 ms, not 6. Which memory a process
gets is chance, so without this, the same transfer takes three times as long in some turns.
"""

from __future__ import annotations

import mmap
import os

_BYTES = 4 << 30  # more than any contestant's turn needs


def touch_free_memory() -> None:
    """Write to free memory, up to 4 GiB or half of it: those who allocate next get that."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size = min(_BYTES, free // 2)
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1
