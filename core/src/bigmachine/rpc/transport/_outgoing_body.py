"""What is not yet sent of a message with large parts: over the wire, or past it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import trio

from .._frames import CHUNK_BYTES, Buffer, Payload
from ..memory._socket import MemorySocket


class OutgoingBody:
    """What is not yet sent of a message: its frame, until it `has_begun`, and its body's pieces."""

    __slots__ = ("_at", "_frame", "_pieces", "has_begun", "is_sent", "left", "size", "stream")

    def __init__(self, stream: int, frame: bytes, pieces: Sequence[Buffer], size: int) -> None:
        self.stream = stream
        self.size = size
        self.is_sent = trio.Event()
        self.has_begun = False
        self._at = 0
        self._take(frame, pieces)

    def _take(self, frame: bytes, pieces: Sequence[Buffer]) -> None:
        self._frame = frame
        self._pieces = deque(memoryview(piece).cast("B") for piece in pieces if len(piece))
        self.left = sum(piece.nbytes for piece in self._pieces)

    def begin(self) -> bytes:
        """Return the frame; or do a part of what must be done before, and begin later."""
        self.has_begun = True
        return self._frame

    def next_chunk(self) -> memoryview:
        """Return the next part; empty if there is none."""
        if not self._pieces:
            return _NOTHING
        piece = self._pieces[0]
        chunk = piece[self._at : self._at + CHUNK_BYTES]
        self._at += len(chunk)
        self.left -= len(chunk)
        if self._at == len(piece):
            self._pieces.popleft()
            self._at = 0
        return chunk


class SharedBody(OutgoingBody):
    """The same of a message whose large parts go past the wire: they are written there before.

    Descriptors must be sent in the order of the frames, so those of a message are sent with it.
    """

    __slots__ = ("_encode", "_memory", "_payload", "_writing")

    def __init__(
        self,
        stream: int,
        payload: Payload,
        encode: Callable[..., tuple[bytes, Sequence[Buffer]]],
        memory: MemorySocket,
    ) -> None:
        from ..memory._write import write_in_turns

        super().__init__(stream, b"", (), payload.size)
        self.left = payload.size
        self._payload = payload
        self._encode = encode
        self._memory = memory
        self._writing = write_in_turns(payload)

    def begin(self) -> bytes:
        for written in self._writing:
            if written is None:  # there is more; others have their turn
                return b""
            self._payload = written
        shared = self._memory.send(self._payload)
        frame, pieces = self._encode(self._payload, shared=shared)
        self._take(frame, pieces)
        return super().begin()


_NOTHING = memoryview(b"")
