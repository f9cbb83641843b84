"""A machine's output, read from a pipe line by line."""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque

import trio

from bigmachine.system import LinePart

from ._descriptors import Descriptor

_LINE_BYTES = 1 << 20  # longer lines come in parts: a machine may print without newlines
_PART_SECONDS = 0.1  # how long the beginning of a line waits for the rest
_READ_BYTES = 1 << 16
_PIPE_READS = 16  # a pipe holds 16 pages, of at most 64 KiB each


class Log:
    """The driver's end of a machine's standard output and error: an iterator of lines.

    Lines have no newline. A line that the machine does not finish for a moment, such as a
    progress bar, comes in parts. Several readers share the lines: each goes to one reader. The
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
        self._part_is_due = math.inf  # when the unfinished line is given as it is
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
            with contextlib.suppress(trio.ClosedResourceError), trio.move_on_at(self._part_is_due):
                await trio.lowlevel.wait_readable(self._pipe)
            # `finish` may have read the rest and closed it: while this task waited, or after
            # the pipe became readable and before the task ran again.
            if self._pipe.number < 0:
                return
            with contextlib.suppress(BlockingIOError):
                if not self._read():
                    self._end()
            if self._unfinished and trio.current_time() >= self._part_is_due:
                self._give_part()

    def _read(self) -> bool:
        """Read once, without waiting. Returns False at the end of the pipe."""
        data = os.read(self._pipe.number, _READ_BYTES)
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._lines.append(self._unfinished + line)
            self._unfinished = b""
        if rest and (lines or not self._unfinished):
            self._part_is_due = trio.current_time() + _PART_SECONDS
        self._unfinished += rest
        if len(self._unfinished) > _LINE_BYTES - _READ_BYTES:
            self._give_part()
        elif not self._unfinished:
            self._part_is_due = math.inf
        return bool(data)

    def _give_part(self) -> None:
        self._lines.append(LinePart(self._unfinished))
        self._unfinished = b""
        self._part_is_due = math.inf

    def _end(self) -> None:
        if self._unfinished:
            self._lines.append(self._unfinished)
            self._unfinished = b""
        trio.lowlevel.notify_closing(self._pipe)
        self._pipe.close()
