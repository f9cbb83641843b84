"""Stream arguments as a method sees them: an iterator or a file, sync or async.

They end with their call. If a method keeps one, whatever reads it later raises a `UsageError`.
"""

from __future__ import annotations

import functools
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

from .._streams import FILE_CHUNK_BYTES, IncomingStream, ThreadIterator


def thread_argument(incoming: IncomingStream, *, is_file: bool, run: Callable[..., Any]) -> Any:
    """Return a plain iterator or binary file, for a method that runs in a thread.

    ``run`` runs an async function in the trio loop and waits for it.
    """
    items = ThreadIterator(functools.partial(run, incoming.receive))
    incoming.on_call_end = items.fail
    return _ThreadFile(items, incoming) if is_file else items


def async_argument(incoming: IncomingStream, *, is_file: bool) -> Any:
    """Return an async iterator or file, for a method that runs in the trio loop."""
    return AsyncFile(incoming) if is_file else incoming


class AsyncFile:
    """An uploaded file for an ``async def`` method: `read`, and ``async for`` over lines."""

    def __init__(self, incoming: IncomingStream) -> None:
        self._incoming = incoming
        self._rest = bytearray()
        self._is_ended = False
        incoming.on_call_end = self._forget

    async def read(self, size: int = -1) -> bytes:
        """Read ``size`` bytes, or all; fewer only at the end of the file."""
        while (size < 0 or len(self._rest) < size) and await self._more():
            pass
        return self._cut(len(self._rest) if size < 0 else size)

    async def readline(self) -> bytes:
        """Read to the next newline, and with it; nothing at the end."""
        seen = 0
        while (end := self._rest.find(b"\n", seen)) < 0:
            seen = len(self._rest)
            if not await self._more():
                return self._cut(seen)
        return self._cut(end + 1)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def _more(self) -> bool:
        if not self._is_ended:
            try:
                for chunk in await self._incoming.receive():
                    self._rest += chunk
            except StopAsyncIteration:
                self._is_ended = True
        return not self._is_ended

    def _cut(self, size: int) -> bytes:
        data = bytes(self._rest[:size])
        del self._rest[:size]
        return data

    def _forget(self, error: Exception) -> None:
        self._rest.clear()
        self._is_ended = False  # so that the next read asks the stream, which raises the error


class _ThreadFile(io.BufferedReader):
    """An uploaded file as a readable binary file, for a method that runs in a thread."""

    _READS = ("peek", "read", "read1", "readinto", "readinto1", "readline")

    def __init__(self, chunks: ThreadIterator, incoming: IncomingStream) -> None:
        super().__init__(_RawFile(chunks), FILE_CHUNK_BYTES)
        self._chunks = chunks
        incoming.on_call_end = self._fail

    def _fail(self, error: Exception) -> None:
        self._chunks.fail(error)
        # What it has buffered is not to be read, either: how much that is depends on chance.
        for name in self._READS:
            setattr(self, name, lambda *_: next(self._chunks))


class _RawFile(io.RawIOBase):
    def __init__(self, chunks: ThreadIterator) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
