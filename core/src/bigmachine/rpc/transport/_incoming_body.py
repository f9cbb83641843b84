"""The body of a message that arrives in parts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .._frames import PICKLE_IN_BODY, UPLOADS_SHIFT, Buffer, Frame
from ..memory._allocation import allocate
from ._discarded_body import DiscardedBody


class IncomingBody:
    """The body of a message, and how much of it has been received.

    Each buffer is allocated when its first bytes come: what is only announced takes no memory.
    """

    __slots__ = (
        *("_buffers", "_flags", "_headers", "_inline", "_kind", "_name", "_sizes"),
        *("filled", "shared", "size", "stream"),
    )

    def __init__(
        self,
        kind: int,
        stream: int,
        name: str,
        headers: bytes,
        inline: bytes,
        flags: int,
        sizes: Sequence[int],
    ) -> None:
        self._kind = kind
        self._name = name
        self._headers = headers
        self._inline = inline
        self._flags = flags
        self._sizes = sizes
        self._buffers: list[memoryview] = []  # the last one may be incomplete
        self.stream = stream
        self.shared: Mapping[int, memoryview] = _NONE_SHARED  # those that are complete, by place
        self.filled = 0  # of the last buffer
        self.size = sum(sizes) + len(inline)

    @property
    def is_full(self) -> bool:
        return not self.space()

    def space(self) -> int:
        """Return how many bytes the current buffer still takes; 0 if the body is complete."""
        buffers, sizes = self._buffers, self._sizes
        if buffers and (left := buffers[-1].nbytes - self.filled):
            return left
        while (place := len(buffers)) < len(sizes):
            if place in self.shared:
                buffers.append(self.shared[place])
                self.filled = sizes[place]
            elif not sizes[place]:
                buffers.append(_EMPTY)
                self.filled = 0
            else:
                break
        return sizes[len(buffers)] if len(buffers) < len(sizes) else 0

    def prepare(self) -> None:
        """Allocate the next buffer, if the last one is full. There must be `space`.

        `MemoryError` if there is no memory for it.
        """
        buffers = self._buffers
        if not buffers or self.filled == buffers[-1].nbytes:
            size = self._sizes[len(buffers)]
            try:
                buffers.append(allocate(size))
            except (OSError, OverflowError) as exc:
                raise MemoryError(str(exc)) from exc
            self.filled = 0

    def room(self, count: int) -> memoryview:
        return self._buffers[-1][self.filled : self.filled + count]

    def discarded(self, *, excluding: Collection[int] = ()) -> DiscardedBody:
        """Return what takes the rest: the buffers that have not begun, ``excluding`` some."""
        begun = len(self._buffers)
        rest = [
            size
            for place, size in enumerate(self._sizes)
            if place >= begun and place not in self.shared and place not in excluding
        ]
        return DiscardedBody(self._frame(self._inline, ()), sum(rest))

    def frame(self) -> Frame:
        buffers = self._buffers
        if self._flags & PICKLE_IN_BODY:
            return self._frame(buffers[0], buffers[1:])
        return self._frame(self._inline, buffers)

    def _frame(self, pickle: Buffer, buffers: Sequence[memoryview]) -> Frame:
        uploads = self._flags >> UPLOADS_SHIFT
        return Frame(
            *(self._kind, self.stream, uploads, self._name, pickle, buffers, self.size),
            headers=self._headers,
        )


_EMPTY = memoryview(bytearray())
_NONE_SHARED: Mapping[int, memoryview] = {}
