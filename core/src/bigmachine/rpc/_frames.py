"""The format of frames, and how they are encoded; `FrameDecoder` reads them.

A connection carries frames in each direction. A frame is a 16-byte header and a
payload::

    length:u32  stream:u32  kind:u8  flags:u8  count:u16  aux:u32   (little-endian)

A *message* (CALL, REPLY, ERROR, ITEM) is a small payload plus, where it has large
parts, a body of ``count`` buffers. The message frame announces the buffers' sizes;
their bytes follow in DATA frames of the same stream, with frames of other streams
in between. So a gigabyte in one call never holds up another, and each buffer is
received straight into memory of its own.

Between processes of one host, a large buffer may be in memory that both share: then its size is
marked by `IN_MEMORY`, nothing of it follows, and the table ends with the number of the first such
buffer of the message; see `MemorySocket`.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

CHUNK_BYTES = 256 << 10
"""The most a DATA frame carries: what another stream's frame may have to wait for."""

INLINE_BYTES = 64 << 10
"""A pickle up to this size travels in the message frame itself."""

SHARED_BYTES = 1 << 20
"""From this size on, buffers of a message are in shared memory, if both ends have some."""

IN_MEMORY = 1 << 63
"""What marks the size of a buffer that is in shared memory."""

MAX_BUFFERS = 1024
"""The most buffers a message may have; further ones travel inside the pickle."""

DEFAULT_LIMIT_BYTES = 16 << 30
"""The largest message accepted, unless the receiver says otherwise."""

MAX_BODIES = 128
"""The most messages whose bodies may be under way in one direction; further ones wait their turn.

All of them together may be as large as the largest message.
"""

MAX_NAME_BYTES = 1024
"""The longest name of a method, ``Service.method`` in UTF-8."""

MAX_HEADERS_BYTES = 16 << 10
"""The most that a call's headers may take: W3C's limits of a trace context leave half of it."""

HEADERS_SHIFT = 16
"""In a CALL, the upper bits of aux are the length of its headers; few calls have any."""

LAST_STREAM = 2**32 - 1
"""The highest number of a stream: at 50,000 calls a second they last for a day."""

HEADER = struct.Struct("<IIBBHI")
HEADER_BYTES = HEADER.size


class Kind:
    """What a frame is for. Streams are numbered by the client, upwards.

    Plain numbers: to look up a member of an enum, and compare it, takes three times as long.
    """

    CALL: Final = 1
    """Call a method: aux is the length of the name that precedes the pickle.

    Its upper half is the length of the headers, which follow the name.
    """
    REPLY: Final = 2
    """The method's result; ends the stream."""
    ERROR: Final = 3
    """The method raised, or an iterator did; ends the stream."""
    CANCEL: Final = 4
    """The sender gives this stream up; ends it.

    With a number in aux, the client gives up its lane of that number, with the call on it.
    """
    DATA: Final = 5
    """Bytes of the body of the stream's current message."""
    STREAM: Final = 6
    """The method is a generator: items follow, then END or ERROR."""
    ITEM: Final = 7
    """One item of a stream."""
    END: Final = 8
    """A stream of items is complete."""
    ACK: Final = 9
    """The receiver has taken items that cost aux: the sender may send so much more."""
    ELSEWHERE: Final = 10
    """Such a method is not called over a lane; nothing was called."""


KINDS = {number: name for name, number in vars(Kind).items() if name.isupper()}
"""The names of all kinds."""

MESSAGES = frozenset({Kind.CALL, Kind.REPLY, Kind.ERROR, Kind.ITEM})
PICKLE_IN_BODY = 1
UPLOADS_SHIFT = 1
MAX_UPLOADS = 127
"""The most iterators and files that one call may stream up."""


class Frame(NamedTuple):
    """A received frame, complete with its body.

    For a message, ``pickle`` and ``buffers`` are what `Payload` sent and ``size``
    counts the bytes of both. A CALL also has its method's ``name``, its ``headers``, in JSON,
    if it has some, and, as ``aux``, the number of its stream arguments, which take the stream
    numbers after its own.
    """

    kind: int
    stream: int
    aux: int
    name: str
    pickle: Buffer
    buffers: Sequence[memoryview]
    size: int
    headers: bytes = b""


class Payload(NamedTuple):
    """A pickled object: the pickle, in pieces, and its out-of-band buffers."""

    chunks: Sequence[Buffer]
    buffers: Sequence[memoryview]
    pickle_bytes: int
    size: int


class Shared(NamedTuple):
    """Which parts of a message are in shared memory: their places in its table of sizes.

    They are numbered from ``first`` on, in the order of the table.
    """

    first: int
    places: Collection[int]


def control_frame(kind: int, stream: int, aux: int = 0) -> bytes:
    """Encode a frame that has no payload."""
    return HEADER.pack(0, stream, kind, 0, 0, aux)


def data_header(stream: int, size: int) -> bytes:
    """Encode the header of a DATA frame of ``size`` bytes."""
    return HEADER.pack(size, stream, Kind.DATA, 0, 0, 0)


def parts_of(payload: Payload) -> Sequence[Sequence[Buffer]]:
    """Return what a message's table of sizes is of: the pickle, if it is large, and the buffers.

    Each part may be in pieces.
    """
    parts: list[Sequence[Buffer]] = [(buffer,) for buffer in payload.buffers]
    if payload.pickle_bytes > INLINE_BYTES:
        parts.insert(0, payload.chunks)
    return parts


def message_frame(
    kind: int,
    stream: int,
    payload: Payload,
    name: bytes = b"",
    uploads: int = 0,
    headers: bytes = b"",
    shared: Shared | None = None,
) -> tuple[bytes, Sequence[Buffer]]:
    """Encode a message: its frame, and the pieces of the body to send after it.

    Nothing follows of the parts that are ``shared``.
    """
    flags, aux = uploads << UPLOADS_SHIFT, len(name)
    if headers:
        aux |= len(headers) << HEADERS_SHIFT
        name += headers
    if not payload.buffers and payload.pickle_bytes <= INLINE_BYTES:
        chunks = payload.chunks
        pickle = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        header = HEADER.pack(len(name) + len(pickle), stream, kind, flags, 0, aux)
        return b"".join((header, name, pickle)), ()
    if payload.pickle_bytes <= INLINE_BYTES:
        inline = b"".join(payload.chunks)
    else:
        flags, inline = flags | PICKLE_IN_BODY, b""
    parts, places = parts_of(payload), shared.places if shared is not None else ()
    sizes = [sum(map(len, part)) for part in parts]
    marked = [size | IN_MEMORY if i in places else size for i, size in enumerate(sizes)]
    table = struct.pack(f"<{len(sizes)}Q", *marked)
    if shared is not None:
        table += struct.pack("<Q", shared.first)
    body = [piece for i, part in enumerate(parts) if i not in places for piece in part]
    length = len(table) + len(name) + len(inline)
    header = HEADER.pack(length, stream, kind, flags, len(sizes), aux)
    return b"".join((header, table, name, inline)), body
