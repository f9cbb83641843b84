"""Where a user's sessions are found on this computer: a folder with a socket of each.

The folder guards them: nobody else can enter it, or put another one in its place.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

SUFFIX = ".sock"

_CREDENTIALS = "3i"  # struct ucred of unix(7): process, user, group

_MAX_FOLDER_BYTES = 103 - len("/x-89abcdef.sock") - 23
"""The longest path of a folder: the path of a socket has 103 bytes on macOS, 107 on Linux.

The first part of a session's name has at most 24 characters.
"""


def socket_folder(*, make: bool = False) -> Path | None:
    """Return the folder with the sockets of this user's sessions; None if there is none.

    With ``make``, it is made if need be. It is in ``$XDG_RUNTIME_DIR``; where that is not set or
    can't be used, in ``/run/user/UID``; and else in the temporary directory. It is chosen by the
    same rule in each process, so that sessions of a cron job are found from a terminal.
    """
    for folder in _candidates():
        if len(os.fsencode(folder)) > _MAX_FOLDER_BYTES:
            continue
        try:
            if not _is_safe_place(folder.parent):
                continue
            if make and not os.path.lexists(folder):
                folder.mkdir(mode=0o700)
            if _is_ours(folder):
                return folder
        except OSError:  # it does not exist, or is read-only
            continue
    return None


class _Connection(Protocol):
    def getsockopt(self, level: int, option: int, buffersize: int) -> int | bytes: ...


def is_own(connection: _Connection) -> bool:
    """Whether this user, or root, is at the other end of a Unix socket's connection.

    True where that can't be known: the folder guards the socket.
    """
    if sys.platform != "linux":
        return True
    size = struct.calcsize(_CREDENTIALS)
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    assert isinstance(credentials, bytes)
    return struct.unpack(_CREDENTIALS, credentials)[1] in (0, os.geteuid())


def _candidates() -> Iterator[Path]:
    if not hasattr(socket, "AF_UNIX") or not hasattr(os, "geteuid"):
        return
    user = os.geteuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):  # else it is to be ignored, says the XDG specification
        yield Path(runtime, "bigmachine")
    yield Path(f"/run/user/{user}/bigmachine")  # of a cron job, say, which has no variable
    for folder in dict.fromkeys([tempfile.gettempdir(), "/tmp"]):
        yield Path(folder, f"bigmachine-{user}")


def _is_safe_place(parent: Path) -> bool:
    """Whether nobody else can rename what is in this folder, and put a thing of theirs there."""
    found = parent.stat()
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return found.st_uid in (0, os.geteuid()) and (
        not others_write or bool(found.st_mode & stat.S_ISVTX)
    )


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder of this user, which no other one can enter; not a link to one."""
    found = folder.lstat()
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    )
