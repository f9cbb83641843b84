"""A user's files for machines: read on the driver, written on the machine."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import UsageError
from ._commands import GuestError

_MAX_BYTES = 1 << 20  # of all files; the driver sends them to each machine


@dataclass(frozen=True, slots=True)
class File:
    """A file for a machine: its absolute path there, permission bits and content."""

    path: str
    mode: int
    content: bytes = field(repr=False)

    @classmethod
    def read(cls, local: str, *, path: str) -> File:
        """Read the file on the driver. Raises `OSError`."""
        with open(Path(local).expanduser(), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o755  # only root may write it
            return cls(path, mode, file.read(_MAX_BYTES + 1))

    def write(self) -> None:
        """Write the file on the machine, atomically. Raises `GuestError`."""
        folder, name = os.path.split(self.path)
        try:
            os.makedirs(folder, exist_ok=True)
            fd, part = tempfile.mkstemp(dir=folder, prefix=f".{name}-")
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(self.content)
                    os.fchmod(fd, self.mode)
                os.replace(part, self.path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(part)
                raise
        except OSError as exc:
            raise GuestError(f"can't write {self.path}: {exc.strerror}") from exc


def read_files(option: str, files: Iterable[tuple[str, ...]]) -> tuple[File, ...]:
    """Read the files that an option names: pairs of a path on the machine and a local one.

    Raises `UsageError`.
    """
    try:
        return tuple(File.read(local, path=path) for path, local in files)
    except OSError as exc:
        raise UsageError(f"invalid option {option}: {exc.filename}: {exc.strerror}") from exc


def check_size(files: Sequence[File]) -> None:
    """Raise `UsageError` if the files together are too large to be sent to each machine."""
    if sum(len(file.content) for file in files) > _MAX_BYTES:
        raise UsageError(
            f"invalid options files, units: together they exceed {_MAX_BYTES >> 20} MiB; they "
            "are for settings, and are sent to each machine: send data as an argument of a "
            "service method, or let the machines download it"
        )
