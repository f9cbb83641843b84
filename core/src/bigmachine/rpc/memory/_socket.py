"""The way of large buffers between processes of one host: past the wire, in shared memory.

Beside a connection, a Unix socket carries descriptors. The sender of a message sends them first,
numbered from 0, and then the frame that announces them. A Unix socket delivers at once, so they
are there when the frame comes: nobody ever waits for them, and none is taken that was not
announced.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable

from ...errors import ProtocolError
from .._frames import SHARED_BYTES, Payload, Shared, parts_of
from ._descriptors import Descriptors

MAX_UNTAKEN_BYTES = 64 << 20
"""How much may have been sent and not yet been taken, or one buffer; the rest goes over the wire.

So a peer that does not read gets no more than over the wire.
"""

MAX_FILES = 4
"""The most memfds that one buffer is in: each is written by one thread at a time."""


class MemorySocket:
    """One end of the socket beside a connection; who has the connection uses it, one at a time.

    ``find`` returns the socket as soon as the peer has connected it. At the end, ``closed`` is
    called.
    """

    def __init__(
        self,
        find: Callable[[], socket.socket | None],
        closed: Callable[[], object] = lambda: None,
    ) -> None:
        self._find = find
        self._closed = closed
        self._sock: socket.socket | None = None
        self._has_ended = False
        self._connecting = threading.Lock()
        self._sent = self._taken = 0
        self._untaken_bytes = 0
        self.sent_bytes = self.received_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether buffers can be sent now, as far as is known; in any thread."""
        try:
            sock = self._connected()
            return sock is not None and (
                self._untaken_bytes < MAX_UNTAKEN_BYTES or not _queue_bytes(sock)
            )
        except (OSError, ValueError):  # it was closed meanwhile
            return False

    def send(self, payload: Payload) -> Shared | None:
        """Send the parts of ``payload`` that are in shared memory; the frame must be sent next.

        None if there are none, or none can be sent: they go over the wire, as all else does.
        """
        first, places = self._sent, []
        for place, part in enumerate(parts_of(payload)):
            buffer = part[0] if len(part) == 1 else None
            if type(buffer) is memoryview and buffer.nbytes >= SHARED_BYTES and self._send(buffer):
                places.append(place)
        return Shared(first, places) if places else None

    def take(self, number: int, size: int) -> memoryview:
        """Return the buffer with this ``number``; `ProtocolError` if it is not there.

        `MemoryError` if there is no memory to map or to copy it: then it is taken, too.
        """
        from ._mapping import map_received

        if number != self._taken or not size or (sock := self._connected()) is None:
            raise ProtocolError(f"buffer {number} was announced in memory, and is not there")
        self._taken += 1
        self.received_bytes += size
        received, data, spare = Descriptors(), bytearray(_NUMBER.size + 1), _take_spare()
        try:
            spare.close()
            received.receive(sock, data, most=MAX_FILES)
            numbers = received.numbers
            if not numbers or data != _NUMBER.pack(number) + b"\0":
                raise ValueError(f"{len(numbers)} descriptors came with {data.hex()}")
            try:
                return map_received(numbers, size)
            except (OSError, OverflowError) as exc:
                raise MemoryError(str(exc)) from exc
        except (OSError, ValueError) as exc:
            raise ProtocolError(f"buffer {number} can't be taken from memory: {exc}") from exc
        finally:
            received.close()
            _keep_spare(spare)

    def close(self) -> None:
        """Close it: what was not taken is gone."""
        with self._connecting:
            if self._has_ended:
                return
            self._has_ended = True
        if self._sock is not None:
            self._sock.close()
        self._closed()

    def _send(self, buffer: memoryview) -> bool:
        from ._mapping import files_of

        files, sock = files_of(buffer), self._connected()
        if not files or sock is None:
            return False
        try:
            if self._untaken_bytes and not _queue_bytes(sock):
                self._untaken_bytes = 0
            # What is kept for others takes no memory more, whether the peer takes it or not.
            counted = 0 if files[0].is_kept else buffer.nbytes
            if self._untaken_bytes and self._untaken_bytes + counted > MAX_UNTAKEN_BYTES:
                return False
            numbers = [file.fileno() for file in files]
            socket.send_fds(sock, [_NUMBER.pack(self._sent)], numbers)
        except OSError:  # it is full, for instance; or the peer has closed it
            return False
        for file in files:
            if not file.is_kept:
                file.close()
        self._sent += 1
        self._untaken_bytes += counted
        self.sent_bytes += buffer.nbytes
        return True

    def _connected(self) -> socket.socket | None:
        if self._sock is None:
            with self._connecting:
                if self._sock is None and not self._has_ended:
                    self._sock = self._find()
        return self._sock if not self._has_ended else None


def keeps_descriptors() -> bool:
    """Whether this process has what it needs to take buffers, even when it has no more left.

    Who offers memory, or takes such an offer, asks this before: otherwise what is sent to it is
    lost, over each new connection again.
    """
    _keep_spare(_take_spare())
    return any(len(spare.numbers) == MAX_FILES for spare in _spare)


_NUMBER = struct.Struct("<Q")


def _queue_bytes(sock: socket.socket) -> int:
    """Return how much the peer has not yet read, as the kernel counts it."""
    import fcntl
    import termios  # late: other systems than Linux have neither of them

    answer = fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4)
    return int.from_bytes(answer, sys.byteorder)


# Descriptors that are closed while others are received and mapped: if a process has none left, the
# kernel drops those that come. Each element is for one buffer. There is no lock: a signal handler
# may interrupt who holds it, and wait for another thread that needs it.
_spare: list[Descriptors] = []
_MAX_SPARE = 2  # so many threads can receive at once without another descriptor


def _take_spare() -> Descriptors:
    try:
        return _spare.pop()
    except IndexError:
        return Descriptors()


def _keep_spare(spare: Descriptors) -> None:
    if len(_spare) < _MAX_SPARE:
        with contextlib.suppress(OSError):  # others have taken them
            while len(spare.numbers) < MAX_FILES:
                spare.create(os.open, os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        _spare.append(spare)
