"""A machine's log over the wire: what machines print that their system has no pipe to."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence

import trio

from ..errors import BigmachineError
from ..rpc import Connection
from ._link import follow

_LINE_BYTES = 1 << 20  # longer lines are split: a machine may print without end

Connected = Callable[[], Awaitable[Connection]]


class MachineLog:
    """How far a machine's log was read, and by how much it goes on.

    The boot program gives parts of it, then the worker, over one connection after the
    other, then the boot program again. Each part comes with its offset, so that no line
    is lost or doubled in between. ``on_lines`` takes them, without their newlines.
    """

    def __init__(self, on_lines: Callable[[Sequence[bytes]], None]) -> None:
        self.offset = 0
        self._on_lines = on_lines
        self._unfinished = b""
        self._marks: dict[bytes, trio.Event] = {}
        self._is_followed = False

    def take(self, at: int, data: bytes) -> None:
        """Take what the log says at an offset; what of it is known already is left out."""
        if at > self.offset:
            self.finish()
            lost = f"({at - self.offset} bytes were printed faster than they could be sent: lost)"
            self._on_lines([lost.encode()])
        new = data[max(self.offset - at, 0) :]
        self.offset = max(self.offset, at + len(data))
        *lines, self._unfinished = (self._unfinished + new).split(b"\n")
        if self._marks:
            lines = [*self._without_marks(lines)]
        if len(self._unfinished) >= _LINE_BYTES:
            lines.append(self._unfinished)
            self._unfinished = b""
        self._on_lines(lines)

    def finish(self) -> None:
        """Take the last line as it is: nothing more of it comes."""
        if self._unfinished:
            self._on_lines([self._unfinished])
            self._unfinished = b""

    async def follow(self, connected: Connected) -> None:
        """Read on, over whatever connection there is by then, until cancelled."""
        self._is_followed = True
        try:
            await follow(connected, self._read, "output")
        finally:
            self._is_followed = False

    async def catch_up(self, connection: Connection, *, within: float) -> None:
        """Wait until all that the machine has printed by now was taken; for so long at most."""
        if not self._is_followed:
            return
        mark, is_taken = f"bigmachine [{secrets.token_hex(8)}] so far", trio.Event()
        self._marks[mark.encode()] = is_taken  # for good: it may come too late
        with trio.move_on_after(within), contextlib.suppress(BigmachineError):
            await connection.call("Supervisor.mark", (mark,), {})
            await is_taken.wait()

    async def _read(self, connection: Connection) -> None:
        # One part at a time: what a machine prints waits there, in files that are bounded, and
        # in no queue that a call's reply would have to wait behind.
        self.take(*await connection.call("Supervisor.tail", (self.offset,), {}))

    def _without_marks(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        for line in lines:
            # Before it there may be a line that was not finished.
            mark = next((mark for mark in self._marks if line.endswith(mark)), b"")
            if mark:
                self._marks.pop(mark).set()
            if line != mark or not mark:
                yield line.removesuffix(mark)
