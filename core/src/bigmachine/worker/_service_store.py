"""Services that come to a machine in pieces, from its driver or from another machine."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import mmap
import os
import pickle
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import IO, Any

import trio

from .._repeated_event import RepeatedEvent
from ..errors import UsageError
from ..process import close_in_children
from ..rpc import Buffer, Connection

PIECE_BYTES = 1 << 20
"""How much of a service is passed on at once."""

# To reach another machine. A network may drop what they send each other, without any error; TCP
# tries three times in these seconds.
_CONNECT_SECONDS = 4.0
_BEGIN_SECONDS = 10.0  # for it to begin to send, then
_SILENCE_SECONDS = 15.0  # until it is given up; it says each few seconds that it has nothing new
_SIGN_OF_LIFE_SECONDS = 4.0

Dial = Callable[[str], AbstractAsyncContextManager[Connection]]


class ServiceStore:
    """Keeps what machines that start together pass on to each other, until `drop`.

    It does so while it comes in: so a chain of them has all of it hardly later than the first.
    ``dial`` connects to the machine at an address.
    """

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._incoming: dict[str, _IncomingService] = {}

    def expect(self, key: str, sizes: Sequence[int]) -> int:
        """Prepare for a service whose parts have these ``sizes``; return how much is here.

        That stays as it is until the next transfer begins: one that still goes on, because the
        driver has lost its connection, is over now.

        This, `receive` and `fetch` raise `MemoryError` if this machine has no room for it.
        """
        if key not in self._incoming:
            with _without_room():
                self._incoming[key] = _IncomingService(sizes)
        incoming = self._incoming[key]
        incoming.begin()
        return incoming.filled

    async def receive(self, key: str, offset: int, pieces: AsyncIterator[Buffer]) -> None:
        """Take the pieces from ``offset`` on, which is where they end so far, from the driver."""
        incoming = self._find(key)
        if offset != incoming.filled:
            raise UsageError("this transfer is too late: another one has begun")
        append = incoming.begin()
        async for piece in pieces:
            append(piece)

    async def fetch(self, key: str, addr: str) -> str:
        """Take all that is missing from the machine at ``addr``; return why that failed, or ""."""
        incoming = self._find(key)
        append = incoming.begin()
        try:
            with trio.move_on_after(_CONNECT_SECONDS) as scope:
                async with self._dial(addr) as connection:
                    scope.deadline = trio.current_time() + _BEGIN_SECONDS
                    method, args = "Supervisor.send_service", (key, incoming.filled)
                    async for piece in await connection.stream(method, args, {}):
                        scope.deadline = trio.current_time() + _SILENCE_SECONDS
                        append(piece)
        except MemoryError:  # which no other machine can mend
            raise
        except Exception as exc:  # also of its own: another machine may do better
            return f"{type(exc).__name__}: {exc}"
        if scope.cancelled_caught:
            return "it does not answer"
        return "" if incoming.is_complete else "it broke off"

    async def send(self, key: str, offset: int) -> AsyncGenerator[bytes]:
        """Yield all from ``offset`` on, as it comes in."""
        incoming = self._find(key)
        while offset < incoming.size:
            if offset >= incoming.filled:
                with trio.move_on_after(_SIGN_OF_LIFE_SECONDS):
                    await incoming.grown.wait()
            piece = incoming.read(offset)
            yield piece
            offset += len(piece)

    def load(self, key: str) -> Any:
        """Unpickle what has come; its buffers are this caller's own, and take no memory.

        `MemoryError` if this machine can't map them.
        """
        with _without_room():
            pickled, *buffers = self._find(key).map()
        return pickle.loads(pickled, buffers=buffers)

    def drop(self) -> None:
        """Keep nothing: all machines have it. What was loaded stays."""
        while self._incoming:
            self._incoming.popitem()[1].close()

    def _find(self, key: str) -> _IncomingService:
        try:
            return self._incoming[key]
        except KeyError:
            raise UsageError("this machine has no such service to pass on") from None


class _IncomingService:
    """The parts of one service, in a file without a name; offsets count what is in the parts."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.size = sum(sizes)
        self.filled = 0
        self.grown = RepeatedEvent()
        self._sizes = sizes
        self._starts = [0, *itertools.accumulate(sizes[:-1])]
        # In the file, there are gaps between them: arrays must begin at multiples of their items.
        padded = [-(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES for size in sizes]
        self._places = [0, *itertools.accumulate(padded)]
        self._file = close_in_children(_new_file())
        self._writer: object = None  # the latest; the driver has given up those before

    def close(self) -> None:
        """Give its memory back; what `map` has returned stays."""
        self._file.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it could not be made
            self.close()

    @property
    def is_complete(self) -> bool:
        return self.filled == self.size

    def begin(self) -> Callable[[Buffer], None]:
        """Return a function that appends a piece of a part, until this is called again."""
        writer = self._writer = object()

        def append(piece: Buffer) -> None:
            if self._writer is not writer:
                raise UsageError("another transfer of this service has begun")
            if len(piece) > self._seek(self.filled):
                raise UsageError("more came of a service than was announced")
            rest = memoryview(piece)
            with _without_room():
                while rest:
                    rest = rest[self._file.write(rest) :]
            self.filled += len(piece)
            self.grown.set()

        return append

    def read(self, offset: int) -> bytes:
        """Return a piece of a part, from ``offset`` on; nothing if that has not come."""
        left = self._seek(offset)
        return self._file.read(min(PIECE_BYTES, left, self.filled - offset))

    def map(self) -> list[memoryview]:
        """Return the parts: each caller sees only its own changes."""
        # One byte more, for there may be nothing in it.
        self._file.truncate(self._places[-1] + 1)
        whole = memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY))
        return [
            whole[place : place + size]
            for place, size in zip(self._places, self._sizes, strict=False)
        ]

    def _seek(self, offset: int) -> int:
        """Go to an offset; return how much of its part is left from there on."""
        if offset >= self.size:
            return 0
        part = bisect.bisect_right(self._starts, offset) - 1
        self._file.seek(self._places[part] + offset - self._starts[part])
        return self._starts[part] + self._sizes[part] - offset


@contextlib.contextmanager
def _without_room() -> Iterator[None]:
    """Raise `MemoryError` for what a file raises: a limit, a full disk or memory, no descriptor."""
    try:
        yield
    except OSError as exc:
        why = f"this machine has no room for the service ({exc}): use machines with more memory"
        raise MemoryError(why) from exc


_ALIGNMENT_BYTES = 64  # a cache line, which is what the largest vectors of a processor need


def _new_file() -> IO[bytes]:
    """Return a file in memory, if there is such; closed, it is gone."""
    with contextlib.suppress(AttributeError, OSError):
        number = os.memfd_create("bigmachine-service", os.MFD_CLOEXEC)
        return open(number, "wb+", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
