"""Memory that another process of this host can map: written once, then sealed.

A `memfd` has no name and no file: it is gone with the last descriptor and the last mapping, however
the processes that had them ended.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import errno
import fcntl
import functools
import mmap
import os
import stat
import weakref
from collections.abc import Sequence
from itertools import repeat

from ...process import close_in_children
from .._frames import Buffer
from ._allocation import allocate
from ._descriptors import Descriptors

MAX_MAPPINGS = 8192
"""How many received buffers a process maps at once; further ones are copied.

Each takes up to eight of the mappings that the kernel grants a process, 65,530 by default.
"""


class MemoryFile:
    """A memfd to write; `OSError` if there is none. No forked child keeps its descriptor.

    It is written, not mapped and filled: a fault for each page takes twice as long.
    """

    def __init__(self) -> None:
        self._descriptors = Descriptors()
        self._descriptors.create(os.memfd_create, "bigmachine", _flags())
        self.size = 0
        self.is_kept = False
        """Whether its descriptor stays open once it is sent: it goes to several processes."""
        close_in_children(self)

    def fileno(self) -> int:
        """Return its descriptor; -1 once it is closed."""
        return next(iter(self._descriptors.numbers), -1)

    def write(self, buffer: Buffer) -> None:
        """Append ``buffer``; other threads run meanwhile."""
        rest = memoryview(buffer).cast("B")
        while rest:
            count = os.write(self.fileno(), rest)
            self.size += count
            rest = rest[count:]

    def seal(self) -> None:
        """See to it that nobody can change it any more; `OSError` if that can't be had."""
        fcntl.fcntl(self.fileno(), fcntl.F_ADD_SEALS, _NEEDED_SEALS | fcntl.F_SEAL_SEAL)
        # Kernels that only look like Linux may have said yes and done nothing: the receiver checks.
        if fcntl.fcntl(self.fileno(), fcntl.F_GET_SEALS) & _NEEDED_SEALS != _NEEDED_SEALS:
            raise OSError(errno.ENOTSUP, "memory can't be sealed")

    def close(self) -> None:
        """Close its descriptor; the memory stays while it is mapped, or others have one."""
        self._descriptors.close()


def sealed(files: Sequence[MemoryFile]) -> memoryview:
    """Return the content of files that are now complete, one after the other; see `files_of`.

    All but the last have whole pages.
    """
    for file in files:
        file.seal()
    mapping = _map([(file.fileno(), file.size) for file in files])
    mapping.files = tuple(files)
    return memoryview(mapping).toreadonly()


def files_of(buffer: memoryview) -> Sequence[MemoryFile]:
    """Return the files that `sealed` was given for this; none for other buffers."""
    return buffer.obj.files if isinstance(buffer.obj, _Mapping) else ()


def map_received(numbers: Sequence[int], size: int) -> memoryview:
    """Map what a peer has sent until the last view of it goes; copy it if it can't be mapped.

    Who writes there gets pages of its own. The descriptors stay the caller's to close.
    `ValueError` if this is not sealed memory of so many bytes: it could change or vanish while it
    is read. `OSError` or `MemoryError` if there is no memory.
    """
    files = [(number, _checked_size(number)) for number in numbers]
    sizes = [each for _, each in files]
    if sum(sizes) != size or any(each % mmap.PAGESIZE for each in sizes[:-1]):
        raise ValueError(f"memory of {sizes} bytes for a buffer of {size}")
    if len(_received) < MAX_MAPPINGS:
        with contextlib.suppress(OSError):
            mapping = _map(files)
            _received.add(mapping)
            return memoryview(mapping)
    return _copy(files, size)


_received: weakref.WeakSet[_Mapping] = weakref.WeakSet()


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


@functools.cache
def _flags() -> int:
    """Return the flags of memfds; nobody executes them, and some hosts allow no others."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        Descriptors().create(os.memfd_create, "bigmachine", flags | _MFD_NOEXEC_SEAL)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        return flags  # Linux before 6.3
    return flags | _MFD_NOEXEC_SEAL


_MFD_NOEXEC_SEAL = 8


class _Mapping(mmap.mmap):
    """Memory that is unmapped when nothing refers to it any more, even in a cycle, and not before.

    The kernel maps others into its place: with a descriptor of its own, which the module mmap
    keeps before Python 3.13, a process would soon have too many.
    """

    files: Sequence[MemoryFile] = ()


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long),
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value
_MAP_FIXED = 0x10  # on every Linux


def _map(files: Sequence[tuple[int, int]]) -> _Mapping:
    """Map files of these sizes, one after the other: all but the last have whole pages."""
    size = sum(each for _, each in files)
    mapping = _Mapping(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    access = mmap.PROT_READ | mmap.PROT_WRITE
    for number, each in files:
        # Private: a page is copied when it is written, and the file never changes.
        flags = mmap.MAP_PRIVATE | _MAP_FIXED
        if _libc.mmap(address, each, access, flags, number, 0) == _FAILED:
            raise OSError(ctypes.get_errno(), "memory can't be mapped")
        address += each
    if size >= _LONG_BYTES:
        _free_in_background(mapping, [number for number, _ in files])
    return mapping


def _copy(files: Sequence[tuple[int, int]], size: int) -> memoryview:
    copy = allocate(size)
    rest = copy
    for number, each in files:
        at = 0
        while at < each:
            count = os.preadv(number, [rest[: each - at]], at)
            at, rest = at + count, rest[count:]
    return copy


def _free_in_background(mapping: _Mapping, numbers: Sequence[int]) -> None:
    """Have no thread wait until the memory is free: that takes 1 ms for 8 MiB.

    One page of each file stays mapped until a thread, which starts after ``mapping`` has gone,
    frees it, and with it the file.
    """
    pages: list[int] = []
    # Not at the end of the process, which frees all.
    weakref.finalize(mapping, _unmap_in_thread, pages).atexit = False
    arguments = (None, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_PRIVATE)
    pages.extend(
        map(_libc.mmap, *map(repeat, arguments), numbers, repeat(0))
    )  # in C; see `Descriptors`


def _unmap_in_thread(pages: Sequence[int]) -> None:
    try:
        _thread.start_new_thread(_unmap, (pages,))
    except RuntimeError:  # no more threads
        _unmap(pages)


def _unmap(pages: Sequence[int]) -> None:
    for page in pages:
        if page != _FAILED:
            _libc.munmap(page, mmap.PAGESIZE)


_LONG_BYTES = 8 << 20
