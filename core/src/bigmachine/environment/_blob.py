"""A file to send, identified by the hash of its content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import UsageError
from ._local_file import open_regular, unreadable
from ._scan import File


@dataclass(frozen=True, slots=True)
class Blob:
    """A file to send, named by the SHA-256 (hex) of its content.

    ``mtime_ns`` and ``size_bytes`` show later whether the file at ``path`` has changed.
    """

    sha256: str
    size_bytes: int
    path: Path
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, *, sha256: str | None = None) -> Blob:
        """Make the blob of the file at ``path``; ``sha256`` is its hash, if that is known.

        Raises `UsageError` if the file cannot be read.
        """
        try:
            status = path.stat()
        except OSError as exc:
            raise unreadable(path, exc) from exc
        return cls(sha256 or hash_file(path), status.st_size, path, status.st_mtime_ns)

    def open(self) -> BinaryIO:
        """Open the file for reading; raises `UsageError` if it was changed or deleted."""
        try:
            file = open_regular(self.path)
        except OSError as exc:
            raise UsageError(f"{self.path} was deleted before it was sent; start again") from exc
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != (self.size_bytes, self.mtime_ns):
            file.close()
            raise UsageError(
                f"{self.path} was changed before it was sent; start again, or exclude it by "
                f"exclude=[{self.path.name!r}] if it changes all the time"
            )
        return file


# `bigmachine.boot.vm.blobs` has its own: it runs where nothing of this package is installed.
def hash_file(path: Path) -> str:
    """Return a file's SHA-256 (hex); raises `UsageError` if it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise unreadable(path, exc) from exc


def hash_files(files: Iterable[File]) -> dict[str, str]:
    """Return the SHA-256 (hex) of each file by its path; `UsageError` if one cannot be read."""
    return {file.path: hash_file(file.source) for file in files}


def hash_list(files: Iterable[File], hashes: Mapping[str, str], *, salt: bytes = b"") -> str:
    """Return the hash (hex) of the paths, modes and contents of ``files``.

    ``hashes`` has the SHA-256 of each file by its path.
    """
    total = hashlib.sha256(salt)
    for file in files:
        line = f"{file.path}\0{file.mode}\0{hashes[file.path]}\n"
        total.update(line.encode("utf-8", "surrogateescape"))
    return total.hexdigest()
