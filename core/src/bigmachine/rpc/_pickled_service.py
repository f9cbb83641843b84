"""A service as it travels: its pickle, with large buffers beside it."""

from __future__ import annotations

import pickle
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from ._frames import SHARED_BYTES, Buffer, Payload


class PickledService:
    """A pickled service; ``buffers`` are those of its arrays and the like, ``pickle`` has the rest.

    The pickle may be in pieces, so that none that is large is copied. With a message, all of them
    travel out of band. ``key`` tells it from every other one. ``is_parallel`` says that processes
    of its methods unpickle it once more.
    """

    def __init__(
        self,
        pieces: Sequence[Buffer],
        buffers: Sequence[Buffer] = (),
        key: bytes = b"",
        is_parallel: bool = False,
    ) -> None:
        self.key = key or secrets.token_bytes(16)
        self.is_parallel = is_parallel
        self.buffers = buffers
        self._pieces = pieces

    @classmethod
    def of_payload(cls, payload: Payload, *, is_parallel: bool = False) -> PickledService:
        """Return what travels of a service that was pickled to this."""
        return cls([*_merged(payload.chunks)], payload.buffers, is_parallel=is_parallel)

    @property
    def pickle(self) -> Buffer:
        """The pickle in one piece."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def load(self) -> Any:
        """Unpickle it; its arrays are views of the buffers, so that it does so only once."""
        return pickle.loads(self.pickle, buffers=self.buffers)

    def copy(self) -> PickledService:
        """Return one that can be unpickled whatever becomes of this one's arrays."""
        buffers = [*map(_copied, self.buffers)]
        return PickledService((self.pickle,), buffers, self.key, self.is_parallel)

    def to_payload(self) -> Payload:
        """Return it as a message."""
        whole, buffers = self.pickle, [memoryview(buffer) for buffer in self.buffers]
        size = len(whole) + sum(buffer.nbytes for buffer in buffers)
        return Payload((whole,), buffers, len(whole), size)

    def __reduce__(self) -> tuple[Any, ...]:
        out_of_band = [[*map(pickle.PickleBuffer, part)] for part in (self._pieces, self.buffers)]
        return type(self), (*out_of_band, self.key, self.is_parallel)


def _merged(chunks: Iterable[Buffer]) -> Iterable[Buffer]:
    """Join what is small, which is copied sooner than sent by itself."""
    small: list[Buffer] = []
    for chunk in chunks:
        if len(chunk) < SHARED_BYTES:
            small.append(chunk)
            continue
        if small:
            yield b"".join(small)
            small.clear()
        yield chunk
    if small:
        yield b"".join(small)


def _copied(buffer: Buffer) -> Buffer:
    """Return a copy that can be written if ``buffer`` can."""
    return bytes(buffer) if memoryview(buffer).readonly else bytearray(buffer)
