"""A file that travels: known by the hash of its content."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import UsageError


@dataclass(frozen=True, slots=True)
class Blob:
    """A file that travels, named by the SHA-256 (hex) of its contents."""

    sha256: str
    size_bytes: int
    path: Path
    mtime_ns: int

    def open(self) -> BinaryIO:
        """Open it for reading; raises `UsageError` if it is not what it was any more."""
        try:
            file = self.path.open("rb")
        except OSError as exc:
            raise UsageError(f"{self.path} has gone while it was to travel; start again") from exc
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != (self.size_bytes, self.mtime_ns):
            file.close()
            raise UsageError(f"{self.path} was changed while it was to travel; start again")
        return file


# `bigmachine.boot.vm.blobs` has its own: it runs where nothing of this package is installed.
def hash_file(path: Path) -> str:
    """Return a file's SHA-256 (hex); raises `UsageError` if it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise UsageError(
            f"{path} was to travel to the machines, and can't be read any more: "
            f"{exc.strerror}; start again"
        ) from exc
