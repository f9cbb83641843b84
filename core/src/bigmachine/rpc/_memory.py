"""Memory that another process of this host can map: written once, then sealed.

A `memfd` has no name and no file: it is gone with the last descriptor and the last mapping, however
the processes that had them ended.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import fcntl
import functools
import mmap
import os
import stat
import weakref
from collections.abc import Sequence
from typing import Any

from ..process import close_in_children
from ._frames import Buffer


class MemoryFile:
    """A memfd to write; `OSError` if there is none. No forked child keeps its descriptor.

    It is written, not mapped and filled: a fault for each page takes twice as long.
    """

    def __init__(self) -> None:
        self._number = os.memfd_create("bigmachine", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.size = 0
        self.is_kept = False
        """Whether its descriptor stays open once it is sent: it goes to several processes."""
        close_in_children(self)

    def fileno(self) -> int:
        """Return its descriptor; -1 once it is closed."""
        return self._number

    def write(self, buffer: Buffer) -> None:
        """Append ``buffer``; other threads run meanwhile."""
        rest = memoryview(buffer).cast("B")
        while rest:
            count = os.write(self._number, rest)
            self.size += count
            rest = rest[count:]

    def seal(self) -> None:
        """See to it that nobody can change it any more."""
        fcntl.fcntl(self._number, fcntl.F_ADD_SEALS, _NEEDED_SEALS | fcntl.F_SEAL_SEAL)

    def close(self) -> None:
        """Close its descriptor; the memory stays while it is mapped, or others have one."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it could not be made
            self.close()


def sealed(files: Sequence[MemoryFile]) -> memoryview:
    """Return the content of files that are now complete, one after the other; see `files_of`.

    All but the last have whole pages.
    """
    for file in files:
        file.seal()
    view, owner = _map([(file.fileno(), file.size) for file in files])
    owner.files = tuple(files)
    return view


def files_of(buffer: memoryview) -> Sequence[MemoryFile]:
    """Return the files that `sealed` was given for this; none for other buffers."""
    return getattr(buffer.obj, "files", ())


def map_received(numbers: Sequence[int], size: int) -> memoryview:
    """Map what a peer has sent, read-only, until the last view of it goes.

    The descriptors stay the caller's to close. `ValueError` if this is not sealed memory of so many
    bytes: it could change or vanish while it is read.
    """
    files = [(number, _checked_size(number)) for number in numbers]
    if sum(each for _, each in files) != size:
        raise ValueError(f"memory of {[each for _, each in files]} bytes for a buffer of {size}")
    return _map(files)[0]


def _checked_size(number: int) -> int:
    found = os.fstat(number)
    try:
        seals = fcntl.fcntl(number, fcntl.F_GET_SEALS) if stat.S_ISREG(found.st_mode) else 0
    except OSError as exc:
        raise ValueError("a file came for memory") from exc
    if seals & _NEEDED_SEALS != _NEEDED_SEALS or not found.st_size:
        raise ValueError("memory that is empty or not sealed")
    return found.st_size


_NEEDED_SEALS = (
    getattr(fcntl, "F_SEAL_SHRINK", 2)
    | getattr(fcntl, "F_SEAL_GROW", 4)
    | getattr(fcntl, "F_SEAL_WRITE", 8)
)


# Not the module mmap: before Python 3.13 each of its objects keeps a descriptor, and a process
# may have few.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long),
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value
_PROT_NONE, _MAP_FIXED = 0, 0x10  # on every Linux


def _map(files: Sequence[tuple[int, int]]) -> tuple[memoryview, Any]:
    """Map files of these sizes, one after the other; return a view, and the object under it."""
    size = sum(each for _, each in files)
    address = _mmap(None, size, _PROT_NONE, mmap.MAP_ANONYMOUS, -1)
    # A type for each power of two, not for each size, since types live long.
    owner = _owner_type((size - 1).bit_length()).from_address(address)
    # Not at the end of the process, when others may still look at it.
    weakref.finalize(owner, _unmap, address, size).atexit = False
    for number, each in files:  # the kernel refuses one after a part of a page
        _mmap(address, each, mmap.PROT_READ, _MAP_FIXED, number)
        address += each
    return memoryview(owner).cast("B")[:size].toreadonly(), owner


def _mmap(address: int | None, size: int, access: int, flags: int, number: int) -> int:
    # Private: Linux before 6.7 maps no sealed memory otherwise. Nobody writes, so it is shared.
    found: int = _libc.mmap(address, size, access, mmap.MAP_PRIVATE | flags, number, 0)
    if found == _FAILED:
        raise OSError(ctypes.get_errno(), "memory can't be mapped")
    return found


def _unmap(address: int, size: int) -> None:
    """Unmap, and with that, perhaps, free memory: that takes 1 ms for 8 MiB, so do not wait."""
    if size >= _LONG_BYTES:
        with contextlib.suppress(RuntimeError):  # no more threads
            _thread.start_new_thread(_libc.munmap, (address, size))
            return
    _libc.munmap(address, size)


_LONG_BYTES = 8 << 20


@functools.cache
def _owner_type(bits: int) -> Any:
    return ctypes.c_ubyte * (1 << bits)
