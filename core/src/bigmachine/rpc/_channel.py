"""What a connection reads from and writes to: `Channel`, over TLS of our own or any stream."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from typing import Any, Protocol

import trio
from trio.lowlevel import wait_readable, wait_writable

from ._frames import Buffer


class Channel(ABC):
    """A byte stream that can send without waiting.

    `send_nowait` hands over at once what the kernel takes and keeps the rest for
    `flush`. It never raises: a broken connection shows where it is read, so that
    there is one place that learns of it.
    """

    failure: Exception | None = None
    """Why the connection broke, where that is known: say, a TLS alert."""

    @abstractmethod
    async def receive_into(self, buffer: memoryview) -> int:
        """Receive at least one byte; 0 at the end, however it came.

        Not always a checkpoint: it returns at once while data is at hand.
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
        """Wait until all is handed to the kernel, or the connection is broken."""

    @abstractmethod
    def close(self) -> None:
        """Close both directions, at once; a task that waits here sees the end."""

    async def send_all(self, *pieces: Buffer) -> None:
        """Send ``pieces`` and flush."""
        self.send_nowait(*pieces)
        await self.flush()

    async def receive_some(self, max_bytes: int) -> bytes:
        """Receive 1 to ``max_bytes`` bytes; none at the end."""
        buffer = bytearray(max_bytes)
        count = await self.receive_into(memoryview(buffer))
        return bytes(memoryview(buffer)[:count])


class TlsChannel(Channel):
    """TLS over a non-blocking socket: `ssl.SSLObject` between two memory buffers.

    Against `trio.SSLStream` it saves 2 of 3 parts of a small call's time and of a
    large transfer's: received bytes go through one buffer that all connections of
    a thread share and are decrypted into the caller's memory, and small sends reach
    the kernel without a task switch. Takes over ``sock`` and closes it.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # Bytes that wait in the kernel are bytes that a small frame must queue behind.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT_BYTES)
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=None if server_side else server_hostname,
        )
        self._unsent = bytearray()
        self._is_drained = False
        self._is_broken = False
        self._is_ended = False

    async def handshake(self) -> None:
        """Shake hands; raises `ssl.SSLError`, or `OSError` when the peer goes away."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush_tls()
                if not await self._receive():
                    raise ConnectionResetError("closed during the TLS handshake") from None
            except ssl.SSLError:
                await self._flush_tls()  # the alert tells the peer why
                raise
            else:
                await self._flush_tls()
                return

    @property
    def ssl_object(self) -> ssl.SSLObject:
        """The TLS state, for the peer's certificate."""
        return self._tls

    @property
    def socket(self) -> socket.socket:
        """The socket under the TLS."""
        return self._sock

    async def receive_into(self, buffer: memoryview) -> int:
        tls, incoming = self._tls, self._incoming
        count = 0
        while not self._is_ended:
            # Asking TLS when it has nothing costs an exception, so ask only when it may have.
            while incoming.pending or tls.pending():
                try:
                    read: int = tls.read(len(buffer) - count, buffer[count:])  # type: ignore[assignment]
                except ssl.SSLWantReadError:
                    break
                except ssl.SSLError as exc:
                    self._is_ended = True
                    if not isinstance(exc, ssl.SSLZeroReturnError):  # the peer's close_notify
                        self.failure = exc
                    return count
                if not read:
                    self._is_ended = True
                    return count
                count += read
                if count == len(buffer):
                    return count
            if self._outgoing.pending:
                # TLS answers by itself, for instance a KeyUpdate. What the kernel doesn't
                # take goes out with the next send: two tasks can't wait for room in it.
                self._push()
            if count:
                return count
            self._is_ended = not await self._receive()
        return 0

    def send_nowait(self, *pieces: Buffer) -> None:
        if self._is_broken:
            return
        try:
            for piece in pieces:
                self._tls.write(piece)
        except ssl.SSLError:
            self._is_broken = True
            return
        self._push()

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    @property
    def is_drained(self) -> bool:
        return self._is_drained and not self._incoming.pending

    async def flush(self) -> None:
        while self._unsent:
            try:
                del self._unsent[: self._sock.send(self._unsent)]
            except BlockingIOError:
                try:
                    await wait_writable(self._sock)
                except (OSError, trio.ClosedResourceError):
                    self._break()
            except OSError:
                self._break()

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        if not self._is_broken and not self._unsent:
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()  # close_notify: the peer can tell an end from a cut
            self._push()
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
        self._break()

    def _push(self) -> None:
        """Hand what TLS has encrypted to the kernel, as far as it goes."""
        data = self._outgoing.read()
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._break()
            return
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]

    def _break(self) -> None:
        self._is_broken = True
        self._unsent.clear()

    async def _receive(self) -> bool:
        """Move bytes from the socket to TLS; False at the end."""
        shared = _shared_buffer()
        while True:
            if self._is_drained:
                try:
                    await wait_readable(self._sock)
                except (OSError, trio.ClosedResourceError):
                    return False
            try:
                count = self._sock.recv_into(shared)
                break
            except BlockingIOError:
                self._is_drained = True
            except OSError:
                return False
        if not count:
            return False
        # A socket that gave less than it might have is empty, most likely: asking it again
        # at once would cost an exception.
        self._is_drained = count < len(shared)
        self._incoming.write(shared[:count])
        return True

    async def _flush_tls(self) -> None:
        self._push()
        await self.flush()
        if self._is_broken:
            raise ConnectionResetError("closed during the TLS handshake")


class NetworkStream(Protocol):
    """The part of `httpcore.AsyncNetworkStream` that a channel needs."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes: ...
    async def write(self, buffer: bytes, timeout: float | None = None) -> None: ...
    async def aclose(self) -> None: ...
    def get_extra_info(self, info: str) -> Any: ...


class StreamChannel(Channel):
    """A channel over any trio stream, or over the network stream of any HTTP client.

    It is what a backend with its own tunnel, proxy or in-memory network gets.
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
            if self._is_closed:  # a broken one may still have something to say
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


_NOT_SENT_BYTES = 256 << 10
_READ_BYTES = 64 << 10
_SHARED_BYTES = 256 << 10
_local = threading.local()


def _shared_buffer() -> memoryview:
    """Return this thread's receive buffer: it is empty again before anyone else runs."""
    try:
        return _local.buffer  # type: ignore[no-any-return]
    except AttributeError:
        _local.buffer = memoryview(bytearray(_SHARED_BYTES))
        return _local.buffer  # type: ignore[no-any-return]


def _is_connection_error(exc: Exception) -> bool:
    if isinstance(exc, (OSError, trio.BrokenResourceError, trio.ClosedResourceError)):
        return True
    # Whatever HTTP client is in use, its network errors are its own.
    return type(exc).__module__.split(".")[0] in ("httpcore", "httpx")
