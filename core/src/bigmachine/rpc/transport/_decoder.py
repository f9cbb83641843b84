"""Decodes frames: bytes in, frames out, and no I/O.

Every length is checked before anything is allocated for it.
"""

from __future__ import annotations

import contextlib
import functools
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

from ...errors import ProtocolError
from .._frames import (
    CHUNK_BYTES,
    DEFAULT_LIMIT_BYTES,
    HEADER,
    HEADER_BYTES,
    HEADERS_SHIFT,
    IN_MEMORY,
    INLINE_BYTES,
    KINDS,
    MAX_BODIES,
    MAX_BUFFERS,
    MAX_HEADERS_BYTES,
    MAX_NAME_BYTES,
    MESSAGES,
    UPLOADS_SHIFT,
    Frame,
    Kind,
)
from ..memory._socket import MemorySocket
from ._discarded_body import DiscardedBody
from ._incoming_body import IncomingBody

MAX_PAYLOAD_BYTES = 2 * INLINE_BYTES
"""The longest frame but DATA: a method's name, the pickle and the table of sizes, with room."""

# An idle connection costs little memory, and a driver may have thousands. One that has received
# as much at once is busy: it reads up to a TLS record at once; if need be, up to the largest frame.
_IDLE_SCRATCH_BYTES = 2 << 10
_BUSY_SCRATCH_BYTES = 16 << 10
_MAX_SCRATCH_BYTES = 2 * MAX_PAYLOAD_BYTES


class FrameDecoder:
    """Turns received bytes into frames.

    Read into `buffer`, then ask for `frames`, or for each `next_frame`; and so on.
    After a `ProtocolError`, close the connection. ``limit_bytes`` is the largest message
    accepted, and the most that all incomplete messages may have together. If ``is_wanted`` is
    False for a stream, the bodies of its messages are skipped. Buffers in shared memory are taken
    from ``memory``. To unpickle a message that there was no memory for raises `MemoryError`.
    """

    def __init__(
        self,
        *,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        leading: bytes = b"",
        is_wanted: Callable[[int], bool] | None = None,
        memory: MemorySocket | None = None,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._memory = memory
        self._is_wanted = is_wanted
        self._scratch = memoryview(bytearray(max(_IDLE_SCRATCH_BYTES, len(leading))))
        self._scratch[: len(leading)] = leading
        self._start = self._latest = 0  # of what is left, and of the latest frame
        self._end = len(leading)
        self._bodies: dict[int, IncomingBody | DiscardedBody] = {}
        self._bodies_bytes = 0  # announced, of all of them
        self.received_at = -math.inf
        """When something was received last; set by the reader, on its clock."""
        self.read_at = perf_counter()
        """The same, but by the clock that costs the least."""
        # The rest of a DATA frame that has not all arrived: where it goes, and how much.
        self._target: IncomingBody | DiscardedBody | None = None
        self._missing = 0

    def buffer(self) -> memoryview:
        """Return the memory that the next bytes are to be received into."""
        if self._start == self._end:
            if self._missing and self._target is not None:
                return self._target.room(self._missing)
            if self._end == len(self._scratch) < _BUSY_SCRATCH_BYTES:
                self._scratch = memoryview(bytearray(_BUSY_SCRATCH_BYTES))
            self._start = self._end = 0
            return self._scratch
        if self._end == len(self._scratch):
            # The beginning of a frame fills the memory to its end: move it to the front of
            # memory that has room for the rest.
            rest = self._scratch[self._start : self._end].tobytes()
            size = len(self._scratch)
            if size < _BUSY_SCRATCH_BYTES or size < min(2 * len(rest), _MAX_SCRATCH_BYTES):
                self._scratch = memoryview(bytearray(max(2 * size, _BUSY_SCRATCH_BYTES)))
            self._scratch[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        return self._scratch[self._end :]

    def forget(self, stream: int) -> None:
        """Drop the unfinished message of a cancelled stream, if there is one."""
        body = self._bodies.pop(stream, None)
        if body is not None:
            self._bodies_bytes -= body.size
            if body is self._target:
                self._target = None

    @property
    def came_alone(self) -> bool:
        """Whether the latest frame came without others: most likely, its answer goes alone, too."""
        # `buffer` begins at the front if nothing is left.
        return self._latest == 0 and self._start == self._end

    @property
    def is_idle(self) -> bool:
        """Whether the bytes so far end where a frame and a message end."""
        return self._start == self._end and not self._missing and not self._bodies

    def frames(self, received: int = 0) -> Iterator[Frame]:
        """Yield each frame that is complete by now; see `next_frame`."""
        frame = self.next_frame(received)
        while frame is not None:
            yield frame
            frame = self.next_frame()

    def next_frame(self, received: int = 0) -> Frame | None:
        """Return the next frame that is complete by now; None if there is none.

        So many bytes were ``received`` since the last one, into what `buffer` returned.
        """
        if received and self._missing and self._target is not None and self._start == self._end:
            self._target.filled += received
            self._missing -= received
        else:
            self._end += received
        while True:
            if self._missing or self._target is not None:
                self._take_data()
                if self._missing:
                    return None
                body, self._target = self._target, None
                if body is not None and body.is_full:
                    del self._bodies[body.stream]
                    self._bodies_bytes -= body.size
                    return body.frame()
                continue
            if self._end - self._start < HEADER_BYTES:
                return None
            length, stream, kind, flags, count, aux = HEADER.unpack_from(self._scratch, self._start)
            if kind == Kind.DATA:
                self._start += HEADER_BYTES
                self._begin_data(stream, length)
                continue
            if length > MAX_PAYLOAD_BYTES:
                raise ProtocolError(f"a frame of {length} bytes was announced")
            begin = self._start + HEADER_BYTES
            end = begin + length
            if end > self._end:
                return None
            self._latest, self._start = self._start, end
            if kind in MESSAGES:
                headers_bytes = 0
                if aux and (aux > length or aux > MAX_NAME_BYTES or kind != Kind.CALL):
                    aux, headers_bytes = _check_name_and_headers(kind, length, aux)
                payload = self._scratch[begin:end].tobytes()
                if count:
                    self._begin_body(kind, stream, flags, count, aux, headers_bytes, payload)
                    continue
                name = _name(payload[:aux]) if aux else ""
                pickle, headers = payload[aux:] if aux else payload, b""
                if headers_bytes:
                    headers, pickle = pickle[:headers_bytes], pickle[headers_bytes:]
                return Frame(
                    kind, stream, flags >> UPLOADS_SHIFT, name, pickle, (), length, headers
                )
            elif length or kind not in KINDS:
                raise ProtocolError(f"a frame of unknown kind {kind} and {length} bytes")
            else:
                return Frame(kind, stream, aux, "", b"", (), 0)

    def _begin_body(
        self,
        kind: int,
        stream: int,
        flags: int,
        count: int,
        name_bytes: int,
        headers_bytes: int,
        payload: bytes,
    ) -> None:
        sizes, marked, table_bytes = _read_table(payload, count)
        if table_bytes + name_bytes + headers_bytes > len(payload):
            raise ProtocolError(f"a message with {count} buffers does not fit its frame")
        if stream in self._bodies:
            raise ProtocolError("a message began before the stream's last one was complete")
        names_end = table_bytes + name_bytes
        headers_end = names_end + headers_bytes
        name = _name(payload[table_bytes:names_end])
        headers = payload[names_end:headers_end]
        body: IncomingBody | DiscardedBody
        body = IncomingBody(kind, stream, name, headers, payload[headers_end:], flags, sizes)
        if sum(sizes) > self._limit_bytes:
            raise ProtocolError(
                f"a message of {sum(sizes)} bytes was announced; the limit is {self._limit_bytes}"
            )
        if marked:  # also if it is unwanted: they would be taken for the next ones
            (number,) = struct.unpack_from("<Q", payload, 8 * count)
            body.shared = self._take_shared(number, [(place, sizes[place]) for place in marked])
            if len(body.shared) < len(marked):
                body = body.discarded(excluding=marked)
        if self._is_wanted is not None and kind != Kind.CALL and not self._is_wanted(stream):
            # Cancelled here while it was sent: the peer stops somewhere in the body.
            return
        total = self._bodies_bytes + body.size
        if self._bodies and (len(self._bodies) == MAX_BODIES or total > self._limit_bytes):
            raise ProtocolError(
                f"{len(self._bodies) + 1} messages of {total} bytes were begun and not completed"
            )
        self._bodies[stream] = body
        self._bodies_bytes = total
        if body.is_full:  # nothing but empty buffers
            self._target = body

    def _take_shared(
        self, number: int, buffers: Sequence[tuple[int, int]]
    ) -> dict[int, memoryview]:
        """Take from the shared memory the buffers with these places and sizes.

        Those are missing that there is no memory for.
        """
        if self._memory is None:
            raise ProtocolError("a buffer was announced in memory that is not shared")
        taken = {}
        for i, (place, size) in enumerate(buffers):
            with contextlib.suppress(MemoryError):
                taken[place] = self._memory.take(number + i, size)
        return taken

    def _begin_data(self, stream: int, length: int) -> None:
        body = self._bodies.get(stream)
        if length > CHUNK_BYTES or (body is not None and length > body.space()):
            raise ProtocolError(f"a DATA frame of {length} bytes has no place in its message")
        # Without a body, the stream was cancelled here while its bytes were sent.
        if isinstance(body, IncomingBody) and length:
            try:
                body.prepare()
            except MemoryError:
                body = self._bodies[stream] = body.discarded()
        self._target = body
        self._missing = length

    def _take_data(self) -> None:
        """Move bytes from the scratch memory to the body of the current DATA frame."""
        count = min(self._missing, self._end - self._start)
        if count and self._target is not None:
            room = self._target.room(count)
            room[:] = self._scratch[self._start : self._start + count]
            self._target.filled += count
        self._start += count
        self._missing -= count


def _read_table(payload: bytes, count: int) -> tuple[Sequence[int], Sequence[int], int]:
    """Return the sizes of a message's buffers, the places of shared ones, and its table's size."""
    table_bytes = 8 * count
    if count > MAX_BUFFERS + 1 or table_bytes > len(payload):
        raise ProtocolError(f"a message with {count} buffers does not fit its frame")
    sizes = struct.unpack_from(f"<{count}Q", payload)
    if max(sizes) < IN_MEMORY:
        return sizes, (), table_bytes
    if table_bytes + 8 > len(payload):
        raise ProtocolError("a message's shared buffers have no number")
    marked = [place for place, size in enumerate(sizes) if size & IN_MEMORY]
    return [size & ~IN_MEMORY for size in sizes], marked, table_bytes + 8


def _check_name_and_headers(kind: int, length: int, aux: int) -> tuple[int, int]:
    """Return the lengths of a call's name and headers, or raise if they can't be right."""
    name_bytes, headers_bytes = aux & ((1 << HEADERS_SHIFT) - 1), aux >> HEADERS_SHIFT
    if (
        kind != Kind.CALL
        or name_bytes > MAX_NAME_BYTES
        or headers_bytes > MAX_HEADERS_BYTES
        or name_bytes + headers_bytes > length
    ):
        raise ProtocolError(
            f"a method's name of {name_bytes} bytes, with {headers_bytes} bytes of headers, has no "
            "place in its frame"
        )
    return name_bytes, headers_bytes


@functools.lru_cache(1024)
def _name(encoded: bytes) -> str:
    try:
        return encoded.decode()
    except UnicodeDecodeError as exc:
        raise ProtocolError("a method's name is not UTF-8") from exc
