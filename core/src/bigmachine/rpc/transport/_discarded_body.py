"""The body of a message that there is no memory for: its bytes go nowhere."""

from __future__ import annotations

import functools
import pickle
from typing import Any, NoReturn

from .._frames import CHUNK_BYTES, Frame


class DiscardedBody:
    """Takes the place of an incoming body, of which ``left`` bytes are still to come.

    The message arrives like any other, but to unpickle it raises a `MemoryError`. So its call
    fails, and not the connection with all other calls.
    """

    __slots__ = ("_frame", "_left", "filled", "size", "stream")

    def __init__(self, message: Frame, left: int) -> None:
        pickled = pickle.dumps(_NoMemory(message.size))
        self._frame = message._replace(pickle=pickled, buffers=())
        self._left = left
        self.filled = 0
        self.size = message.size
        self.stream = message.stream

    @property
    def is_full(self) -> bool:
        return not self.space()

    def space(self) -> int:
        """Return how many bytes are still to come."""
        return self._left - self.filled

    def room(self, count: int) -> memoryview:
        return _nowhere()[:count]

    def frame(self) -> Frame:
        return self._frame


@functools.cache
def _nowhere() -> memoryview:
    """Return memory that nobody reads, for all such bodies."""
    return memoryview(bytearray(CHUNK_BYTES))


class _NoMemory:
    """Unpickles to nothing: that raises `MemoryError`."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __reduce__(self) -> tuple[Any, ...]:
        return _raise, (self._size,)


def _raise(size: int) -> NoReturn:
    raise MemoryError(f"there is no memory for {size:,} bytes")
