"""A machine's log, read over the wire: for systems that can't follow what machines print."""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence

import trio

from .._values import LinePart
from ..errors import BigmachineError
from ..rpc import Connection
from ._link import follow
from .supervisor._client import supervisor

_CATCH_UP_SECONDS = 2.0  # a machine that hangs, or can't be reached, doesn't answer
_LINE_BYTES = 1 << 20  # longer lines come in parts: a machine may print without end
_PART_SECONDS = 0.2  # how long the beginning of a line waits for the rest

Connected = Callable[[], Awaitable[Connection]]


class MachineLog:
    """Reads a machine's log, and gives its lines to ``on_lines``, without their newlines.

    What is not finished for a moment is given as a `LinePart`. ``wait_for_room`` is awaited
    before more is read.

    Parts of it come from the boot program, then from the worker, over one connection after
    the other, then from the boot program again. Each part comes with its ``offset``, so that
    no line is lost or doubled.
    """

    def __init__(
        self,
        on_lines: Callable[[Sequence[bytes]], None],
        *,
        wait_for_room: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        self.offset = 0
        self._on_lines = on_lines
        self._wait_for_room = wait_for_room
        self._unfinished = b""
        self._has_begun_line = False  # a part of it was given
        self._marks: dict[bytes, trio.Event] = {}
        self._is_followed = False

    def take(self, at: int, data: bytes) -> None:
        """Take the part of the log at an offset; ignore what was taken already."""
        if at > self.offset:
            self.finish()
            lost = f"({at - self.offset} bytes were printed faster than they could be sent: lost)"
            self._on_lines([lost.encode()])
        new = data[max(self.offset - at, 0) :]
        self.offset = max(self.offset, at + len(data))
        *lines, self._unfinished = (self._unfinished + new).split(b"\n")
        if self._marks:
            lines = [*self._without_marks(lines)]
        if lines:
            self._on_lines(lines)
            self._has_begun_line = False
        if len(self._unfinished) >= _LINE_BYTES:
            self._give_part()

    def finish(self) -> None:
        """Take the last line as it is: it will not be continued."""
        if self._unfinished or self._has_begun_line:
            self._on_lines([self._unfinished])
            self._unfinished, self._has_begun_line = b"", False

    async def follow(self, connected: Connected) -> None:
        """Go on reading, over whatever connection there is, until cancelled."""
        self._is_followed = True
        try:
            await follow(connected, self._read, "output")
        finally:
            self._is_followed = False

    async def catch_up(self, connection: Connection, *, within: float = _CATCH_UP_SECONDS) -> None:
        """Wait, for so long at most, until all that the machine has printed by now was taken."""
        if not self._is_followed:
            return
        mark, is_taken = f"bigmachine [{secrets.token_hex(8)}] so far", trio.Event()
        self._marks[mark.encode()] = is_taken  # never removed here: it may come too late
        with trio.move_on_after(within), contextlib.suppress(BigmachineError):
            await supervisor(connection).mark(mark)
            await is_taken.wait()

    async def _read(self, connection: Connection) -> None:
        await self._wait_for_room()
        # One part at a time: the rest waits on the machine, in files of bounded size, and not in
        # a queue that would delay the replies of calls.
        is_waiting = self._unfinished and not self._marks  # a mark may be what is unfinished
        with trio.move_on_after(_PART_SECONDS if is_waiting else math.inf):
            self.take(*await supervisor(connection).tail(self.offset))
            return
        self._give_part()

    def _give_part(self) -> None:
        self._on_lines([LinePart(self._unfinished)])
        self._unfinished, self._has_begun_line = b"", True

    def _without_marks(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        for number, line in enumerate(lines):
            # Before it there may be a line that was not finished.
            mark = next((mark for mark in self._marks if line.endswith(mark)), b"")
            if mark:
                self._marks.pop(mark).set()
            if line != mark or not mark or (number == 0 and self._has_begun_line):
                yield line.removesuffix(mark)
