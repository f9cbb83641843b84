"""Whether a file of settings may be believed: others must not be able to write it.

Settings decide what is bought, what is sent to machines and where these get their packages from.
Such a file may be in any folder above the current one, also in one that belongs to somebody else.
git and ssh have the same rule for their own files (``safe.directory``, ``StrictModes``).
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path


def read_settings(path: Path) -> tuple[bytes, str | None]:
    """Return the content of a file, and why it cannot be trusted, or None if it can.

    It can if the user or root owns it, or the user who ran sudo, and if not every user can write
    to it or to its folder. Raises `OSError` if it cannot be read.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())  # of what is read, whatever the name leads to later
        content = file.read()
    return content, _distrust(path, status, {path.parent, Path(os.path.realpath(path)).parent})


def _distrust(path: Path, status: os.stat_result, folders: Iterable[Path]) -> str | None:
    if sys.platform == "win32":
        return None
    owners = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        owners.add(int(os.environ["SUDO_UID"]))
    if status.st_uid not in owners:
        return (
            f"another user (uid {status.st_uid}) owns it: if you trust its content, copy it to a "
            f"file of your own, or run `sudo chown {os.geteuid()} {path}`"
        )
    if status.st_mode & stat.S_IWOTH:
        return f"every user can write to it: run `chmod o-w {path}`"
    for folder in sorted(folders):
        if folder.stat().st_mode & stat.S_IWOTH:
            return (
                f"every user can write to its folder: run `chmod o-w {folder}`, or move it to a "
                "folder of your own"
            )
    return None
