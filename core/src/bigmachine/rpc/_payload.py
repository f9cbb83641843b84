"""Objects to payloads and back, with large buffers out of band."""

from __future__ import annotations

import io
import pickle
from typing import Any

from ._frames import MAX_BUFFERS, SHARED_BYTES, Buffer, Frame, Payload
from .memory._allocation import copy_of
from .memory._socket import MemorySocket
from .pickling._pickler import Pickler

_PROTOCOL = 5  # the first with out-of-band buffers; in every Python we run on

# A buffer below this is cheaper to copy into the pickle than to send by itself.
_OUT_OF_BAND_BYTES = 32 << 10

# What the user's code raises while it is pickled, unpickled or shown; no SystemExit ends us.
USER_ERRORS = Exception, SystemExit

_NUMBERS = frozenset({type(None), bool, int, float, complex})


def dumps(value: object) -> Payload:
    """Pickle anything that `Pickler` can; raises what pickling raises.

    Contiguous buffers (numpy, Arrow, `pickle.PickleBuffer`) of 32 KiB or more
    are not copied, and neither are large ``bytes`` and ``str``.
    """
    if is_plain(value):
        return dumps_plain(value)
    chunks: list[Buffer] = []
    buffers: list[memoryview] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < _OUT_OF_BAND_BYTES or len(buffers) == MAX_BUFFERS:
            return True
        buffers.append(raw)
        return False

    Pickler(_Chunks(chunks), _PROTOCOL, take).dump(value)
    if len(buffers) == MAX_BUFFERS:  # the pickler writes further large ones as they are
        chunks = [
            chunk.raw() if isinstance(chunk, pickle.PickleBuffer) else chunk for chunk in chunks
        ]
    size = sum(map(len, chunks))
    return Payload(chunks, buffers, size, size + sum(raw.nbytes for raw in buffers))


def is_plain(value: object) -> bool:
    """Whether `dumps_plain` can pickle it: most small calls need no more."""
    kind = type(value)
    return kind in _NUMBERS or (
        (kind is str or kind is bytes) and len(value) < _OUT_OF_BAND_BYTES  # type: ignore[arg-type]
    )


def dumps_plain(value: object) -> Payload:
    """Pickle with the plain pickler, in a fifth of the time."""
    data = pickle.dumps(value, _PROTOCOL)
    return Payload((data,), (), len(data), len(data))


def dumps_whole(value: object) -> bytes:
    """Pickle into one piece, with all buffers in it."""
    if is_plain(value):
        return pickle.dumps(value, _PROTOCOL)
    file = io.BytesIO()
    Pickler(file, _PROTOCOL).dump(value)
    return file.getvalue()


def owned(payload: Payload, memory: MemorySocket | None = None) -> Payload:
    """Return a payload that shares no memory which its objects' owners may change.

    Large parts are copied to where ``memory`` can send them from, if they are to go that way.
    """
    copied = payload
    if memory is not None and payload.size >= SHARED_BYTES and memory.has_room:
        from .memory._write import write_shared

        copied = write_shared(payload)
    elif not payload.buffers and all(map(_is_immutable, payload.chunks)):
        return payload
    chunks = copied.chunks
    if chunks is payload.chunks:
        chunks = [chunk if _is_immutable(chunk) else bytes(chunk) for chunk in chunks]
    buffers = [
        new if new is not old or _is_immutable(old.obj) else copy_of(old)
        for old, new in zip(payload.buffers, copied.buffers, strict=True)
    ]
    return payload._replace(chunks=chunks, buffers=buffers)


def _is_immutable(value: object) -> bool:
    return type(value) is bytes


def joined(payload: Payload) -> bytes:
    """Return one pickle, with all buffers in it, that gives the same objects."""
    if not payload.buffers:
        return b"".join(payload.chunks)
    return pickle.dumps(_Parts(payload), _PROTOCOL)


class _Parts:
    """Unpickles to what was pickled in parts; a writable buffer stays writable."""

    def __init__(self, payload: Payload) -> None:
        self._payload = payload

    def __reduce__(self) -> tuple[Any, ...]:
        buffers = [pickle.PickleBuffer(buffer) for buffer in self._payload.buffers]
        return _load_parts, (b"".join(self._payload.chunks), buffers)


def _load_parts(data: bytes, buffers: list[Any]) -> Any:
    return pickle.loads(data, buffers=buffers)


def loads(frame: Frame) -> Any:
    """Unpickle a message from an authenticated peer."""
    return pickle.loads(frame.pickle, buffers=frame.buffers)


class _Chunks:
    """The file that a pickler writes to: it keeps each piece, without a copy."""

    __slots__ = ("write",)

    def __init__(self, chunks: list[Buffer]) -> None:
        self.write = chunks.append
