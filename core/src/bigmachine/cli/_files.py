"""Files that commands write: only their user can read them."""

from __future__ import annotations

import errno
import functools
import os


def check_writable(*paths: str | None) -> None:
    """Raise what `write_private` would, before the work that makes what is written.

    None is no file.
    """
    for path in paths:
        if path is not None:
            folder = os.path.dirname(path) or os.curdir
            if os.path.isdir(path):
                raise _error(errno.EISDIR, path)
            if not os.path.isdir(folder):
                raise _error(errno.ENOENT, path)
            if not os.access(path if os.path.exists(path) else folder, os.W_OK):
                raise _error(errno.EACCES, path)


def write_private(path: str, data: bytes) -> None:
    """Write a file, or replace it; a new one can be read by this user alone. Raises `OSError`."""
    with open(path, "wb", opener=functools.partial(os.open, mode=0o600)) as file:
        file.write(data)


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
