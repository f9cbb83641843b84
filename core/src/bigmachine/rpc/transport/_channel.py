"""What a connection reads from and writes to: `Channel`, and one over any stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import trio

from .._frames import Buffer
from ..memory._socket import MemorySocket


class Channel(ABC):
    """A byte stream that can send without waiting.

    `send_nowait` gives the kernel at once what it accepts and keeps the rest for
    `flush`. It never raises: a broken connection is noticed by the reader alone, so
    only one place has to handle it.
    """

    failure: Exception | None = None
    """Why the connection broke, if that is known: for instance, a TLS alert."""

    received_bytes = 0
    """How much has come from the network, as it is there: encrypted, if this encrypts."""

    sent_bytes = 0
    """How much has been sent, likewise."""

    memory: MemorySocket | None = None
    """The way of large buffers, if the peer is a process of this host; closed with the channel."""

    @property
    def is_local(self) -> bool:
        """Whether the peer is known to be of this host: it has the same address."""
        return False

    @abstractmethod
    async def receive_into(self, buffer: memoryview) -> int:
        """Receive at least one byte; 0 at the end, whatever ended the connection.

        Not always a checkpoint: it returns at once if data has arrived.
        """

    @abstractmethod
    def send_nowait(self, *pieces: Buffer) -> None:
        """Send ``pieces``, in order, after what is still unsent."""

    @property
    @abstractmethod
    def has_unsent(self) -> bool:
        """Whether `flush` has something to do."""

    @property
    @abstractmethod
    def is_drained(self) -> bool:
        """Whether the next `receive_into` will, most likely, have to wait."""

    @abstractmethod
    async def flush(self) -> None:
        """Wait until the kernel has all of it, or the connection is broken."""

    @abstractmethod
    def close(self) -> None:
        """Close both directions at once; a task that is receiving sees the end."""

    async def send_all(self, *pieces: Buffer) -> None:
        """Send ``pieces`` and flush."""
        self.send_nowait(*pieces)
        await self.flush()

    async def receive_some(self, max_bytes: int) -> bytes:
        """Receive 1 to ``max_bytes`` bytes; none at the end."""
        buffer = bytearray(max_bytes)
        count = await self.receive_into(memoryview(buffer))
        return bytes(memoryview(buffer)[:count])


class StreamChannel(Channel):
    """A channel over any trio stream, or over the network stream of any HTTP client.

    A backend with its own tunnel, proxy or in-memory network gets this one.
    """

    def __init__(self, stream: trio.abc.Stream | NetworkStream) -> None:
        self._stream = stream
        self._received = memoryview(b"")
        self._unsent: list[Buffer] = []
        self._is_broken = False
        self._is_closed = False
        self._receiving: trio.CancelScope | None = None

    async def receive_into(self, buffer: memoryview) -> int:
        if not self._received:
            if self._is_closed:  # a broken one may still have bytes to read
                return 0
            with trio.CancelScope() as self._receiving:
                try:
                    if isinstance(self._stream, trio.abc.Stream):
                        data = await self._stream.receive_some(_READ_BYTES)
                    else:
                        data = await self._stream.read(_READ_BYTES)
                except Exception as exc:
                    if not _is_connection_error(exc):
                        raise
                    self.failure = exc
                    return 0
                self._received = memoryview(bytes(data))
                self.received_bytes += len(data)
        count = min(len(self._received), len(buffer))
        buffer[:count] = self._received[:count]
        self._received = self._received[count:]
        return count

    def send_nowait(self, *pieces: Buffer) -> None:
        if not self._is_broken:
            # Copied: the caller may change a buffer once it was handed over.
            self._unsent.extend(bytes(piece) for piece in pieces)

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    @property
    def is_drained(self) -> bool:
        return not self._received

    async def flush(self) -> None:
        while self._unsent:
            data = b"".join(self._unsent)
            self.sent_bytes += len(data)
            self._unsent.clear()
            try:
                if isinstance(self._stream, trio.abc.Stream):
                    await self._stream.send_all(data)
                else:
                    await self._stream.write(data)
            except Exception as exc:
                if not _is_connection_error(exc):
                    raise
                self._is_broken = True
                self._unsent.clear()

    def close(self) -> None:
        self._is_broken = self._is_closed = True
        if self._receiving is not None:
            self._receiving.cancel()


class NetworkStream(Protocol):
    """The part of `httpcore.AsyncNetworkStream` that a channel needs."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes: ...
    async def write(self, buffer: bytes, timeout: float | None = None) -> None: ...
    async def aclose(self) -> None: ...
    def get_extra_info(self, info: str) -> Any: ...


_READ_BYTES = 64 << 10


def _is_connection_error(exc: Exception) -> bool:
    if isinstance(exc, (OSError, trio.BrokenResourceError, trio.ClosedResourceError)):
        return True
    # Whatever HTTP client is in use, its network errors are its own.
    return type(exc).__module__.split(".")[0] in ("httpcore", "httpx")
