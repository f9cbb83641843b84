"""A machine's output, read from a pipe line by line."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator

import trio

from ._descriptors import Descriptor

_LINE_BYTES = 1 << 20  # longer lines are split: a machine may print without newlines
_READ_BYTES = 1 << 16
_PIPE_READS = 16  # a pipe holds 16 pages, of at most 64 KiB each


class Log:
    """The driver's end of a machine's standard output and error: an iterator of lines.

    Lines have no newline. Several readers share them: each line goes to one reader. The
    iterator ends when the machine has ended.

    The pipe is read on demand only, so the memory used is one pipe buffer in the kernel and one
    unfinished line here. A machine that fills the buffer blocks in ``print`` until its log is
    read.
    """

    def __init__(self, pipe: Descriptor) -> None:
        os.set_blocking(pipe.number, False)
        self._pipe = pipe
        self._lines: deque[bytes] = deque()
        self._unfinished = b""
        self._reader = trio.Lock()

    def __aiter__(self) -> Log:
        return self

    async def __anext__(self) -> bytes:
        async with self._reader:
            if not self._lines:
                await self._fill()
            if not self._lines:
                raise StopAsyncIteration
            return self._lines.popleft()

    def finish(self) -> None:
        """Read the rest of the pipe and close it: the machine has ended.

        This does not wait for the end of the pipe, because a process that the machine started
        may still hold it open.
        """
        if self._pipe.number < 0:
            return
        with contextlib.suppress(BlockingIOError):
            for _ in range(_PIPE_READS):
                if not self._read():
                    break
        self._end()

    async def _fill(self) -> None:
        """Wait until there is a line, or the log has ended."""
        while not self._lines and self._pipe.number >= 0:
            with contextlib.suppress(trio.ClosedResourceError):
                await trio.lowlevel.wait_readable(self._pipe)
            # `finish` may have read the rest and closed it: while this task waited, or after
            # the pipe became readable and before the task ran again.
            if self._pipe.number < 0:
                return
            with contextlib.suppress(BlockingIOError):
                if not self._read():
                    self._end()

    def _read(self) -> bool:
        """Read once, without waiting. Returns False at the end of the pipe."""
        data = os.read(self._pipe.number, _READ_BYTES)
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            self._lines.extend(_pieces(line))
        while len(self._unfinished) > _LINE_BYTES:
            self._lines.append(self._unfinished[:_LINE_BYTES])
            self._unfinished = self._unfinished[_LINE_BYTES:]
        return bool(data)

    def _end(self) -> None:
        if self._unfinished:
            self._lines.append(self._unfinished)
            self._unfinished = b""
        trio.lowlevel.notify_closing(self._pipe)
        self._pipe.close()


def _pieces(line: bytes) -> Iterator[bytes]:
    yield line[:_LINE_BYTES]
    for start in range(_LINE_BYTES, len(line), _LINE_BYTES):
        yield line[start : start + _LINE_BYTES]
