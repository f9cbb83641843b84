"""Frames over TLS between two threads that wait for each other: no loop at either end."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable

from ...errors import ProtocolError
from .._frames import (
    CHUNK_BYTES,
    DEFAULT_LIMIT_BYTES,
    SHARED_BYTES,
    Frame,
    Payload,
    control_frame,
    data_header,
    message_frame,
)
from ..memory._socket import MemorySocket
from ._decoder import FrameDecoder
from ._tls import TlsChannel


class LaneChannel:
    """Takes over the socket and the TLS of a ``channel``, after the answer to its upgrade request.

    One thread at a time sends and receives, and waits for it. Any thread may `abort` that. What
    it raises, except `ProtocolError`, is in `BROKEN`; the bytes of a message in parts are sent one
    after the other, as nothing else is under way. While there is a ``time_left``, that function
    bounds each wait: it returns seconds, or raises, and then the channel is of no use.
    """

    def __init__(self, channel: TlsChannel, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._traffic = channel  # it counts the bytes
        self.memory = channel.memory
        self._closing = threading.Lock()
        self._sock, self._tls, self._incoming, self._outgoing = channel.detach()
        self._has_rest = True  # whether TLS may hold bytes that it has decrypted
        self._sock.setblocking(True)
        keep_alive(self._sock)
        self.time_left: Callable[[], float] | None = None
        self._decoder = FrameDecoder(limit_bytes=limit_bytes, memory=self.memory)
        self._received = memoryview(bytearray(_RECEIVE_BYTES))

    def __del__(self) -> None:
        self.close()  # a caller may be interrupted where it can't

    def send_message(
        self, kind: int, stream: int, payload: Payload, *, name: bytes = b"", headers: bytes = b""
    ) -> None:
        """Send a message with its body."""
        shared = None
        if payload.size >= SHARED_BYTES and self.memory is not None and self.memory.has_room:
            from ..memory._write import write_shared

            payload = write_shared(payload, self.time_left or _nothing)
            shared = self.memory.send(payload)
        frame, body = message_frame(kind, stream, payload, name, headers=headers, shared=shared)
        self._tls.write(frame)
        self._push()
        for piece in body:
            piece = memoryview(piece).cast("B")
            for at in range(0, len(piece), CHUNK_BYTES):
                chunk = piece[at : at + CHUNK_BYTES]
                self._tls.write(data_header(stream, len(chunk)))
                self._tls.write(chunk)
                self._push()

    def send_control(self, kind: int, stream: int) -> None:
        """Send a frame without a payload."""
        self._tls.write(control_frame(kind, stream))
        self._push()

    def receive(self) -> Frame | None:
        """Wait for the next frame; None if the peer, or `abort`, has ended the connection.

        The peer sends none before it has an answer to its last one.
        """
        decoder = self._decoder
        while count := self._receive_into(decoder.buffer()):
            if (frame := decoder.next_frame(count)) is not None:
                return frame
        return None

    @property
    def has_ended(self) -> bool:
        """Whether the peer has ended it, or has sent what nobody has asked for."""
        self._sock.setblocking(False)
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            self._sock.setblocking(True)
            return False
        except OSError as exc:
            if not is_of_connection(exc):
                raise
        return True

    def abort(self) -> None:
        """End it at once, in any thread: who waits in another one sees the end."""
        # Who has the lock ends it anyway. It may be a thread that a signal handler has interrupted,
        # which waits for the loop, so the loop must not wait for it.
        if self._closing.acquire(blocking=False):
            try:
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)
            finally:
                self._closing.release()

    def close(self) -> None:
        """Close it, in the thread that uses it."""
        with self._closing:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # other processes may have it, too
            self._sock.close()
            if self.memory is not None:
                self.memory.close()

    def _push(self) -> None:
        """Send what TLS has encrypted."""
        data = self._outgoing.read()
        if self.time_left is None:
            self._sock.sendall(data)
        else:
            unsent = memoryview(data)
            while unsent:
                unsent = unsent[self._in_time(self._sock.send, unsent) :]
        self._traffic.sent_bytes += len(data)

    def _in_time(self, operation: Callable[[memoryview], int], buffer: memoryview) -> int:
        assert self.time_left is not None
        try:
            while True:
                # Again and again, for the time may stand still.
                seconds = min(self.time_left(), _LONGEST_WAIT)
                self._sock.settimeout(seconds)
                try:
                    return operation(buffer)
                except TimeoutError as exc:
                    if not is_of_connection(exc):
                        raise
        finally:
            self._sock.settimeout(None)

    def _receive_into(self, buffer: memoryview) -> int:
        """Receive at least one byte; 0 at the end."""
        tls, incoming = self._tls, self._incoming
        size, received = len(buffer), 0
        while True:
            # To ask TLS when it has nothing costs an exception, so ask only when it may have.
            while incoming.pending or self._has_rest:
                rest = buffer[received:] if received else buffer
                try:
                    count: int = tls.read(size - received, rest)  # type: ignore[assignment]
                except ssl.SSLWantReadError:
                    self._has_rest = False
                    break
                except ssl.SSLZeroReturnError:
                    return received
                received += count
                self._has_rest = received == size  # of a record: it has one at a time
                if self._has_rest or not count:
                    return received
            if self._outgoing.pending:
                self._push()  # TLS answers by itself, for instance a KeyUpdate
            if received:
                return received
            if self.time_left is None:
                count = self._sock.recv_into(self._received)
            else:
                count = self._in_time(self._sock.recv_into, self._received)
            if not count:
                return 0
            self._traffic.received_bytes += count
            incoming.write(self._received[:count])


BROKEN = (OSError, ssl.SSLError)
"""What a `LaneChannel` raises when its connection is broken."""


def is_of_connection(exc: BaseException) -> bool:
    """Whether a `LaneChannel` that was in use has raised this, and nothing that interrupted it.

    Many a signal handler raises a `TimeoutError`, which is an `OSError`, too.
    """
    if not isinstance(exc, (*BROKEN, ProtocolError)):
        return False
    traceback = exc.__traceback__
    while traceback is not None and (traceback := traceback.tb_next) is not None:
        if traceback.tb_frame.f_globals.get("__name__") not in _OWN_MODULES:
            return False
    return True


_OWN_MODULES = frozenset(
    {__name__, ssl.__name__, *(c.__module__ for c in (FrameDecoder, MemorySocket, TlsChannel))}
)

_LONGEST_WAIT = 0.5
_RECEIVE_BYTES = 128 << 10  # at once; an idle lane has touched none of it

# A router on the way may forget a connection that is silent for a minute. That the machine can't
# be reached is found out over the multiplexed connection, so these may fail for ten minutes.
_KEEPALIVE_SECONDS = 15
_KEEPALIVES = 40


def keep_alive(sock: socket.socket) -> None:
    options = {
        "TCP_KEEPIDLE": _KEEPALIVE_SECONDS,
        "TCP_KEEPALIVE": _KEEPALIVE_SECONDS,  # the same, as macOS has it
        "TCP_KEEPINTVL": _KEEPALIVE_SECONDS,
        "TCP_KEEPCNT": _KEEPALIVES,
    }
    with contextlib.suppress(OSError):  # macOS has none for a connection that the peer has reset
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _nothing() -> None:
    pass
