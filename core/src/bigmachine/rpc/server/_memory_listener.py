"""The machine's end of the way past the wire: callers of its host connect to a Unix socket."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import secrets
import socket
import threading

from ...process import close_in_children
from ..memory._peer import may_share_memory
from ..memory._socket import MemorySocket, keeps_descriptors
from ..memory._switch import is_on
from ..transport._tls import TlsChannel, is_of_this_host

MAX_NAMELESS = 64
"""The most callers that have connected and not said for which connection; the oldest is closed."""


class MemoryListener:
    """Offers to share memory with the peers of connections, if they are on this host.

    An offer is a secret, for one connection: who knows it has read it there, as the peer whose
    certificate was verified. Nobody waits for a peer to connect: it does so before it announces
    anything in memory, so a client that looks for its socket then finds it.
    """

    def __init__(self) -> None:
        self._name = ""
        self._sock: socket.socket | None = None
        self._lock = threading.RLock()  # reentrant, since garbage may be collected anywhere
        self._offered: dict[bytes, socket.socket | None] = {}  # by hash; once connected, who
        self._nameless: list[socket.socket] = []
        self._has_ended = False

    def offer(self, channel: TlsChannel) -> str:
        """Return what to tell the peer of a connection; nothing if it is not of this host."""
        if not is_on() or not is_of_this_host(channel.socket):
            return ""
        if not keeps_descriptors() or not self._listen():
            return ""
        token = secrets.token_hex(16)
        key = _hash(token.encode())
        with self._lock:
            self._offered[key] = None
        channel.memory = MemorySocket(
            functools.partial(self._claim, key), closed=functools.partial(self._withdraw, key)
        )
        return f"{self._name} {token}"

    def close(self) -> None:
        """Close it, and what was not claimed."""
        with self._lock:
            self._has_ended = True
            unclaimed = [self._sock, *self._nameless, *self._offered.values()]
            self._nameless, self._offered = [], {}
        for sock in filter(None, unclaimed):
            sock.close()

    def _listen(self) -> bool:
        with self._lock:
            if self._sock is None and not self._has_ended:
                name = f"bigmachine-{secrets.token_hex(16)}"
                with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
                    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                    opened.callback(sock.close)
                    sock.setblocking(False)
                    sock.bind("\0" + name)
                    sock.listen(_BACKLOG)
                    self._name, self._sock = name, close_in_children(sock)
                    opened.pop_all()
            self._accept()  # who has gone must not fill the queue
            return self._sock is not None and not self._has_ended

    def _claim(self, key: bytes) -> socket.socket | None:
        """Return the socket of a connection's peer, if it has connected."""
        with self._lock:
            self._accept()
            if (sock := self._offered.get(key)) is not None:
                del self._offered[key]
            return sock

    def _withdraw(self, key: bytes) -> None:
        with self._lock:
            self._accept()
            sock = self._offered.pop(key, None)
        if sock is not None:
            sock.close()

    def _accept(self) -> None:
        """Look who has connected."""
        while self._sock is not None and not self._has_ended:
            try:
                sock = close_in_children(self._sock.accept()[0])
            except OSError:  # nobody more; or no descriptor is left
                break
            sock.setblocking(False)
            self._nameless.append(sock)
        waiting, self._nameless = self._nameless, []
        for sock in waiting:
            try:
                token = sock.recv(_MAX_TOKEN_BYTES) if may_share_memory(sock) else b""
            except BlockingIOError:
                self._nameless.append(sock)
                continue
            except OSError:
                token = b""
            # Found by its hash, so that the time this takes says nothing about the secret.
            key = _hash(token)
            if key in self._offered and self._offered[key] is None:
                self._offered[key] = sock
            else:
                sock.close()
        while len(self._nameless) > MAX_NAMELESS:
            self._nameless.pop(0).close()


_BACKLOG = 4096
_MAX_TOKEN_BYTES = 64


def _hash(token: bytes) -> bytes:
    return hashlib.blake2b(token).digest()
