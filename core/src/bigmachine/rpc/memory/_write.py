"""Copies the large parts of a message to memory that another process of this host can map."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence

from ...errors import CallTimeout
from .._frames import SHARED_BYTES, Buffer, Payload
from ._mapping import MemoryFile, files_of, sealed
from ._socket import MAX_FILES

PIECE_BYTES = 1 << 20
"""How much is written at once where others must have their turn: that takes less than 1 ms."""


def write_in_turns(payload: Payload) -> Generator[Payload | None, None, None]:
    """Copy the large parts of ``payload``; yield None now and then, at last what has the copies.

    What finds no memory, or no descriptor, stays as it is.
    """
    chunks, buffers = payload.chunks, list(payload.buffers)
    if payload.pickle_bytes >= SHARED_BYTES and not _is_written(chunks):
        chunks = (yield from _write_in_turns(chunks)) or chunks
    for place, buffer in enumerate(buffers):
        if buffer.nbytes >= SHARED_BYTES and not _is_written((buffer,)):
            [buffers[place]] = (yield from _write_in_turns((buffer,))) or (buffer,)
    yield payload._replace(chunks=chunks, buffers=buffers)


def write_shared(payload: Payload, between: Callable[[], object] = lambda: None) -> Payload:
    """Do the same at once, for a caller in a thread of its own; ``between`` is called meanwhile."""
    buffers = [
        _write_by_threads(buffer, between)
        if buffer.nbytes >= _PARALLEL_BYTES and not _is_written((buffer,))
        else buffer
        for buffer in payload.buffers
    ]
    written = payload
    with contextlib.closing(write_in_turns(payload._replace(buffers=buffers))) as steps:
        for step in steps:
            written = step or written
            between()
    return written


def _write_in_turns(pieces: Sequence[Buffer]) -> Generator[None, None, tuple[memoryview] | None]:
    try:
        file = MemoryFile()
        for piece in pieces:
            view = memoryview(piece).cast("B")
            for at in range(0, len(view), PIECE_BYTES):
                if at:
                    yield
                file.write(view[at : at + PIECE_BYTES])
        return (sealed([file]),)
    except OSError:
        return None


def _write_by_threads(buffer: memoryview, between: Callable[[], object]) -> memoryview:
    """Return a copy, or ``buffer`` itself.

    The kernel spends more time on finding pages than on copying, and one file is written by one
    thread at a time: so there are several.
    """
    view = buffer.cast("B")
    count = min(MAX_FILES, len(os.sched_getaffinity(0)))
    part_bytes = -(-len(view) // (count * mmap.PAGESIZE)) * mmap.PAGESIZE
    parts: list[_Part] = []
    try:
        for at in range(0, len(view), part_bytes):
            parts.append(_Part(view[at : at + part_bytes]))
        for part in parts[1:]:
            part.start()
        for _ in parts[0].write():
            between()
        if all(part.is_complete() for part in parts):
            return sealed([part.file for part in parts])
    except CallTimeout:  # an OSError, too
        raise
    except (OSError, RuntimeError):  # no memory, no descriptor, or no thread
        pass
    finally:
        for part in parts:
            part.is_wanted = False
    return buffer


class _Part:
    """A part of a buffer, and the file that it is written to, perhaps by a thread of its own."""

    def __init__(self, content: memoryview) -> None:
        self.file = MemoryFile()
        self.is_wanted = True
        self._content = content
        self._thread: threading.Thread | None = None

    def write(self) -> Iterator[None]:
        """Write it, as long as it is wanted; yield now and then."""
        for at in range(0, len(self._content), _UNINTERRUPTED_BYTES):
            if self.is_wanted:
                self.file.write(self._content[at : at + _UNINTERRUPTED_BYTES])
                yield

    def start(self) -> None:
        """Write it in a thread."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def is_complete(self) -> bool:
        """Wait for the thread; return whether all is written."""
        if self._thread is not None:
            self._thread.join()
        return self.file.size == len(self._content)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # then it is not complete
            for _ in self.write():
                pass


def _is_written(pieces: Sequence[Buffer]) -> bool:
    [first, *others] = pieces
    return type(first) is memoryview and not others and bool(files_of(first))


_PARALLEL_BYTES = 16 << 20  # in less time than threads take to start, one has written it
_UNINTERRUPTED_BYTES = 16 << 20
