"""Files named by their SHA-256: the store of what was received, and how peers send them."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import BinaryIO, Callable

from .common import CHUNK_BYTES, HANDSHAKE_SECONDS, HttpError

_CONNECT_SECONDS = 4.0  # TCP tries three times; a network may drop what machines send each other
GROWTH_SECONDS = 30.0  # for a blob that still comes in to grow, while somebody reads it


class BlobStore:
    """Blobs on the disk: whole ones, whose hash was checked, and partial ones."""

    def __init__(self, folder: str, *, heard: Callable[[], None]) -> None:
        os.makedirs(folder, exist_ok=True)
        self._folder = folder
        self._heard = heard
        self._sizes: dict[str, int] = {}  # of the expected blobs
        self._writers: dict[str, object] = {}  # the latest of each blob; earlier ones give up
        self._source: Peer | None = None  # of the latest `fetch`
        self.failed: str | None = None  # why the latest `fetch` failed, if it did
        self._grown = threading.Condition()

    def path(self, sha256: str) -> str:
        """Return the path of a whole blob."""
        return os.path.join(self._folder, sha256)

    def expect(self, sizes: dict[str, int], *, check: bool) -> None:
        """Set the blobs that are needed now, by size in bytes; mark those here as used.

        With ``check``, delete damaged ones: the power may have failed during a write.
        """
        self._sizes = dict(sizes)
        for sha256 in sizes:
            path = self.path(sha256)
            if os.path.exists(path):
                os.utime(path)
                if check and hash_file(path) != sha256:
                    os.unlink(path)

    def missing(self) -> dict[str, int]:
        """Return the needed blobs that are not whole, each with the bytes that are here."""
        needed = (s for s in self._sizes if not os.path.exists(self.path(s)))
        return {sha256: self.received(sha256) for sha256 in needed}

    def received(self, sha256: str) -> int:
        """Return how many bytes of a blob are here."""
        for path in (self.path(sha256), self._part(sha256)):
            with contextlib.suppress(OSError):
                return os.stat(path).st_size
        return 0

    def receive(self, sha256: str, offset: int, read: Callable[[], bytes]) -> None:
        """Append what ``read`` returns until that is empty; check a blob that is complete."""
        if sha256 not in self._sizes:
            raise HttpError(404, "no plan has blob " + sha256)
        me = object()
        with self._grown:
            self._writers[sha256] = me
            if offset != (have := self.received(sha256)):
                raise HttpError(409, "it continues at another offset", have=have)
        left = self._sizes[sha256] - offset
        if left > 0:
            with open(self._part(sha256), "ab") as part:
                while data := read():
                    left -= len(data)
                    if left < 0:
                        raise HttpError(413, "it is larger than planned")
                    with self._grown:
                        if self._writers[sha256] is not me:
                            raise HttpError(409, "another upload of it continues")
                        part.write(data)
                        part.flush()
                        self._grown.notify_all()
                    self._heard()
        if self.received(sha256) >= self._sizes[sha256]:
            self._finish(sha256)

    def fetch(self, blobs: list[str], source: Peer, say: Callable[[str], None]) -> None:
        """Receive blobs from a peer, until one fails: then `failed` says why."""
        self.failed, self._source = None, source
        try:
            for sha256 in blobs:
                if self._source is source:
                    self._fetch(sha256, source)
        except Exception as exc:
            say(f"{sha256[:12]} from {source.name}: {exc!r}")
            if self._source is source:  # else a later `fetch` has begun
                self.failed = repr(exc)

    def _fetch(self, sha256: str, source: Peer) -> None:
        if os.path.exists(self.path(sha256)):
            return
        offset = self.received(sha256)
        with contextlib.closing(source.blob(sha256, offset)) as response:
            self.receive(sha256, offset, lambda: response.read1(CHUNK_BYTES))  # type: ignore
        if not os.path.exists(self.path(sha256)):
            raise OSError("the connection ended before the blob did")

    def send(self, sha256: str, offset: int) -> tuple[int, Iterator[bytes]]:
        """Return a blob's size, and its chunks from ``offset`` on, as they come in."""
        size = self._sizes.get(sha256)
        if size is None and os.path.exists(self.path(sha256)):
            size = self.received(sha256)
        if size is None or offset > size:
            raise HttpError(404, "there is no such blob here")
        return size, self._chunks(sha256, offset, size)

    def _chunks(self, sha256: str, offset: int, size: int) -> Iterator[bytes]:
        with self._grown:
            while not self.received(sha256):
                if not self._grown.wait(GROWTH_SECONDS):
                    return
            whole = self.path(sha256)
            # Under the lock: otherwise it may be renamed in between.
            file = open(whole if os.path.exists(whole) else self._part(sha256), "rb")  # noqa: SIM115
        with file:
            file.seek(offset)
            while offset < size:
                data = file.read(CHUNK_BYTES)
                if data:
                    offset += len(data)
                    yield data
                    continue
                with self._grown:
                    if self.received(sha256) <= offset and not self._grown.wait(GROWTH_SECONDS):
                        return

    def _finish(self, sha256: str) -> None:
        part = self._part(sha256)
        found = hash_file(part)
        with self._grown:
            if found == sha256:
                os.replace(part, self.path(sha256))
            else:
                os.unlink(part)
            self._grown.notify_all()
        if found != sha256:
            raise HttpError(422, f"blob {sha256} was damaged on its way ({found} came)")

    def _part(self, sha256: str) -> str:
        return self.path(sha256) + ".part"


class Peer:
    """Another machine of the session, which sends blobs."""

    def __init__(self, address: str, name: str, context: ssl.SSLContext) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host.strip("[]"), int(port))
        self.name = name
        self._context = context

    def blob(self, sha256: str, offset: int) -> BinaryIO:
        """Request a blob from ``offset`` on; return a file to read it from."""
        sock = socket.create_connection(self._address, timeout=_CONNECT_SECONDS)
        try:
            sock.settimeout(HANDSHAKE_SECONDS)
            tls = self._context.wrap_socket(sock, server_hostname=self.name)
            tls.settimeout(GROWTH_SECONDS)
            request = f"GET /blobs/{sha256}?{offset} HTTP/1.1\r\nhost: {self.name}\r\n\r\n"
            tls.sendall(request.encode())
            response = http.client.HTTPResponse(tls, method="GET")
            response.begin()
        except BaseException:
            sock.close()
            raise
        if response.status != 200:
            message = response.read(500).decode("utf-8", "replace")
            raise OSError(f"{self.name}: {message}")
        return response


# `bigmachine.environment` has its own: this one imports nothing of the package, and runs on
# Python 3.9, which has no `hashlib.file_digest`.
def hash_file(path: str) -> str:
    """Return a file's SHA-256 (hex)."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(CHUNK_BYTES):
            digest.update(data)
    return digest.hexdigest()
