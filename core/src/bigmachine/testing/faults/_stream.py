"""`FaultyStream`: a byte stream with faults, planned or injected by hand."""

from __future__ import annotations

import contextlib
import errno
import operator
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import trio

from ._plan import LAST, MOST_BYTES, Direction, Fault, Injection

_FLIPPED = 0b0010_0000  # one bit of each byte: the least that can go wrong
_CHUNK_BYTES = 64 << 10


class FaultyStream(trio.abc.Stream):
    """A connection with faults.

    `inject` begins a fault at once. The task that it wakes completes the fault, because to
    close the inner stream may have to wait.
    """

    def __init__(
        self,
        inner: trio.abc.Stream,
        *,
        number: int,
        address: str,
        plans: Mapping[Direction, Iterator[Injection]],
        mean_delay: float,
        wait_passable: Callable[[], Awaitable[None]],
        record: Callable[[Injection], None],
        on_close: Callable[[FaultyStream], None],
    ) -> None:
        self.address = address
        self._inner = inner
        self._number = number
        self._mean_delay = mean_delay
        self._wait_passable = wait_passable
        self._record = record
        self._on_close = on_close
        self._up = _Way(plans[Direction.UP])
        self._down = _Way(plans[Direction.DOWN])
        self._end: Fault | None = None  # TRUNCATE or RESET, if one of them ended it
        self._owes_eof = False
        self._is_closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._up.used():
            await trio.lowlevel.checkpoint()
            self._up.held = memoryview(data).cast("B")
            while await self._is_usable(self._up) and self._up.held:
                with self._interruptible(self._up):
                    await self._wait_movable(self._up)
                    piece = await self._next_piece(self._up, len(self._up.held))
                    if piece:
                        await self._inner.send_all(piece)
            self._up.held = memoryview(b"")

    async def wait_send_all_might_not_block(self) -> None:
        with self._up.used():
            await trio.lowlevel.checkpoint()
            while await self._is_usable(self._up):
                with self._interruptible(self._up):
                    await self._wait_movable(self._up)
                    await self._inner.wait_send_all_might_not_block()
                    return

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        max_bytes = _CHUNK_BYTES if max_bytes is None else operator.index(max_bytes)
        if max_bytes < 1:
            raise ValueError("max_bytes must be 1 or more")
        way = self._down
        with way.used():
            await trio.lowlevel.checkpoint()
            while await self._is_usable(way):
                with self._interruptible(way):
                    await self._wait_movable(way)
                    if not way.held:
                        data = await self._inner.receive_some(_CHUNK_BYTES)
                        way.held = memoryview(data)
                        await self._wait_movable(way)  # the end of the stream is delayed, too
                        if not data:
                            return b""
                    piece = await self._next_piece(way, max_bytes)
                    if piece:
                        return bytes(piece)
            return b""

    async def aclose(self) -> None:
        is_healthy = not self._end and not self._up.is_stalled and not self._down.is_stalled
        if not self._is_closed:
            self._is_closed = True
            self._on_close(self)
            self._wake(self._up, self._down)
        if is_healthy:
            await self._inner.aclose()
        else:
            await trio.aclose_forcefully(self._inner)

    def inject(self, fault: Fault, directions: Iterable[Direction]) -> None:
        """Inject a fault now."""
        for direction in directions:
            way = self._up if direction is Direction.UP else self._down
            size_bytes = MOST_BYTES if fault in (Fault.DROP, Fault.CORRUPT) else 0
            seconds = self._mean_delay if fault is Fault.DELAY else 0.0
            injection = Injection(
                self._number, direction, way.offset, fault, size_bytes=size_bytes, seconds=seconds
            )
            if fault in LAST:
                self._finish(way, injection)
            else:
                way.by_hand.append(injection)
            if self._end is not None:
                return  # it affects both directions

    async def _next_piece(self, way: _Way, max_bytes: int) -> memoryview:
        """Inject the fault that is due, if any; return the bytes that pass before the next."""
        injection = way.due()
        if injection is None:
            return way.take(max_bytes)
        if injection.fault in LAST:
            self._finish(way, injection)
            return memoryview(b"")
        self._record(injection)
        if injection.fault is Fault.DROP:
            way.to_drop += injection.size_bytes
        elif injection.fault is Fault.CORRUPT:
            way.to_flip += injection.size_bytes
        else:
            await trio.sleep(injection.seconds)
        return memoryview(b"")

    def _finish(self, way: _Way, injection: Injection) -> None:
        """Let no more bytes pass in that direction, or in both."""
        if self._end is not None:
            return
        self._record(injection)
        can_half_close = isinstance(self._inner, trio.abc.HalfCloseableStream)
        if injection.fault is Fault.STALL:
            # What waits in the inner stream may finish unnoticed.
            way.is_stalled = True
            if injection.both:
                self._up.is_stalled = self._down.is_stalled = True
        elif injection.fault is Fault.HALF_CLOSE and way is self._down:
            way.is_ended = True
            self._wake(self._down)  # a send can continue
        elif injection.fault is Fault.HALF_CLOSE and can_half_close:
            way.is_ended = self._owes_eof = True
            self._wake(self._up, self._down)  # a receive can continue
        else:
            self._end = Fault.RESET if injection.fault is Fault.RESET else Fault.TRUNCATE
            self._wake(self._up, self._down)

    def _wake(self, *ways: _Way) -> None:
        for way in ways:
            if way.scope is not None:
                way.scope.cancel()

    async def _is_usable(self, way: _Way) -> bool:
        """Complete what `_finish` began; return whether bytes still pass; raise if it is closed."""
        if self._is_closed:
            raise trio.ClosedResourceError("this stream was closed")
        if self._end is not None:
            if self._end is Fault.RESET and isinstance(self._inner, trio.SocketStream):
                with contextlib.suppress(OSError):  # the kernel then sends RST
                    self._inner.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
            await trio.aclose_forcefully(self._inner)
            if self._end is Fault.RESET or way is self._up:
                cause = ConnectionResetError(errno.ECONNRESET, "reset by an injected fault")
                raise trio.BrokenResourceError(str(cause)) from cause
            return False
        if self._owes_eof and (way is self._up or not self._up.is_used):
            self._owes_eof = False
            assert isinstance(self._inner, trio.abc.HalfCloseableStream)
            with contextlib.suppress(OSError, trio.BrokenResourceError):
                await self._inner.send_eof()
        return not way.is_ended

    async def _wait_movable(self, way: _Way) -> None:
        await self._wait_passable()
        if way.is_stalled:
            await trio.sleep_forever()  # until it is closed

    @contextlib.contextmanager
    def _interruptible(self, way: _Way) -> Iterator[None]:
        """Let `_wake` interrupt the block."""
        try:
            with trio.CancelScope() as way.scope:
                yield
        except trio.ClosedResourceError:
            if not self._is_closed and self._end is None:
                raise
        finally:
            way.scope = None


class _Way:
    """One direction of a connection: its position, and its coming faults."""

    def __init__(self, plan: Iterator[Injection]) -> None:
        self.offset = 0
        self.held = memoryview(b"")  # the bytes that pass next
        self.to_drop = self.to_flip = 0
        self.by_hand: list[Injection] = []
        self.is_ended = False
        self.is_stalled = False
        self.is_used = False
        self.scope: trio.CancelScope | None = None
        self._plan = plan
        self._next = next(plan, None)

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Refuse a second task."""
        if self.is_used:
            raise trio.BusyResourceError("another task is using this stream in this direction")
        self.is_used = True
        try:
            yield
        finally:
            self.is_used = False

    def due(self) -> Injection | None:
        """Return the fault before the next byte, if any."""
        if self.by_hand:
            return replace(self.by_hand.pop(0), offset=self.offset)
        found = self._next
        if found is None or found.offset > self.offset:
            return None
        self._next = next(self._plan, None)
        return found

    def take(self, max_bytes: int) -> memoryview:
        """Return what passes of the held bytes: intact, corrupted or nothing."""
        if self.to_drop:
            count = min(self.to_drop, len(self.held))
            self.to_drop -= count
            self._advance(count)
            return memoryview(b"")
        if self.to_flip:
            flipped = self._advance(min(self.to_flip, max_bytes, len(self.held)))
            self.to_flip -= len(flipped)
            return memoryview(bytes(byte ^ _FLIPPED for byte in flipped))
        if self._next is not None:
            max_bytes = min(max_bytes, self._next.offset - self.offset)
        return self._advance(min(max_bytes, len(self.held)))

    def _advance(self, count: int) -> memoryview:
        piece, self.held = self.held[:count], self.held[count:]
        self.offset += count
        return piece
