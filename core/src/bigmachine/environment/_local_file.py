"""Read local files: without waiting for a pipe, and with errors that say what to do."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from ..errors import UsageError

_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a pipe that nobody writes to would block `open`


class NotRegularError(OSError):
    """A pipe, a socket, a device or a folder is where a file was expected."""


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; raises `OSError` for anything else.

    What is at ``path`` may have changed since it was listed.
    """

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags | _NO_WAIT)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotRegularError(None, "not a regular file", name)
        return descriptor

    return open(path, "rb", opener=opener)


class DeletedError(UsageError):
    """A file was deleted since it was listed: a list made now would be without it."""


def unreadable(path: Path, exc: OSError) -> UsageError:
    """Return the error for a file that must be sent and cannot be read."""
    problem = f"{path} must be sent to the machines and cannot be read: {exc.strerror or exc}; "
    if isinstance(exc, FileNotFoundError):
        return DeletedError(problem + "start again")
    return UsageError(problem + "make it readable, or exclude it by a .gitignore or exclude=[...]")
