"""The channel for ordinary sockets: TLS without a trio stream, for speed."""

from __future__ import annotations

import contextlib
import copy
import socket
import ssl
import threading
from socket import socket as Socket

import trio
from trio.lowlevel import wait_readable, wait_writable

from ...process import close_in_children
from .._frames import Buffer
from ._channel import Channel


class TlsChannel(Channel):
    """TLS over a non-blocking socket: `ssl.SSLObject` between two memory buffers.

    A small call and a large transfer take a third of their time over `trio.SSLStream`:
    all connections of a thread receive into one shared buffer, bytes are decrypted into
    the caller's memory, and small sends reach the kernel without a task switch. It owns
    ``sock`` and closes it.
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
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                # Bytes that wait in the kernel are bytes that a small frame must queue behind.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT_BYTES)
        self._sock = close_in_children(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=None if server_side else server_hostname,
        )
        self._unsent = bytearray()
        self._has_rest = False  # whether TLS may hold bytes that it has decrypted
        self._is_drained = False
        self._is_broken = False
        self._is_ended = False
        self._is_detached = False

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

    @property
    def is_local(self) -> bool:
        return is_of_this_host(self._sock)

    def detach(self) -> tuple[Socket, ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
        """Hand over the socket, the TLS state, and what that reads from and writes to.

        Nothing may be unsent, and nobody may wait. This channel is of no use then.
        """
        self._is_detached = self._is_broken = self._is_ended = True
        return self._sock, self._tls, self._incoming, self._outgoing

    def taken_over(self) -> TlsChannel:
        """Return the channel for another owner: this one is of no use then, and closes nothing."""
        channel = copy.copy(self)
        self.detach()
        return channel

    async def receive_into(self, buffer: memoryview) -> int:
        tls, incoming = self._tls, self._incoming
        size, count = len(buffer), 0
        while not self._is_ended:
            # To ask TLS when it has nothing costs an exception, so ask only when it may have.
            while incoming.pending or self._has_rest:
                rest = buffer[count:] if count else buffer
                try:
                    read: int = tls.read(size - count, rest)  # type: ignore[assignment]
                except ssl.SSLWantReadError:
                    self._has_rest = False
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
                self._has_rest = count == size  # of a record: it has one at a time
                if self._has_rest:
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

    @property
    def has_news(self) -> bool:
        """Whether the peer has ended the connection, or sent what nobody has received yet."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def discard(self) -> None:
        """Close the socket, in any thread, once nobody uses the channel any more."""
        self._sock.close()
        if self.memory is not None:
            self.memory.close()

    def close(self) -> None:
        if self._is_detached or self._sock.fileno() < 0:
            return
        self._is_ended = True
        if not self._is_broken and not self._unsent:
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()  # close_notify: so the peer knows that nothing is missing
            self._push()
        trio.lowlevel.notify_closing(self._sock)
        self.discard()
        self._break()

    def _push(self) -> None:
        """Give the kernel what TLS has encrypted, as much as it accepts."""
        data = self._outgoing.read()
        self.sent_bytes += len(data)
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
        self.received_bytes += count
        self._incoming.write(shared[:count])
        return True

    async def _flush_tls(self) -> None:
        self._push()
        await self.flush()
        if self._is_broken:
            raise ConnectionResetError("closed during the TLS handshake")


def is_of_this_host(sock: socket.socket) -> bool:
    """Whether a connected socket has the same address at both ends."""
    try:
        return bool(sock.getpeername()[0] == sock.getsockname()[0])
    except (OSError, IndexError):  # a Unix socket may have no address
        return False


_NOT_SENT_BYTES = 256 << 10
_SHARED_BYTES = 256 << 10
_local = threading.local()


def _shared_buffer() -> memoryview:
    """Return this thread's receive buffer: it is empty again before anyone else runs."""
    try:
        return _local.buffer  # type: ignore[no-any-return]
    except AttributeError:
        _local.buffer = memoryview(bytearray(_SHARED_BYTES))
        return _local.buffer  # type: ignore[no-any-return]
