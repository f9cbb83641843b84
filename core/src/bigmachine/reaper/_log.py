"""What reapers could not free, in a private file for each session: nobody sees their output."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from pathlib import Path

from .._cache_folder import cache_folder
from .._full_names import short_name
from ..errors import sanitize

_MOST_BYTES = 64 << 10  # of a file
_MOST_FILES = 50  # of all sessions of the user; older ones are deleted


class ReaperLog:
    """The log of one session: it exists if something could not be freed, until all is."""

    def __init__(self, session: str) -> None:
        self._name = re.sub(r"[^\w.-]", "_", session) + ".log"
        self._noted: set[str] = set()

    def note(self, problem: str) -> None:
        """Add a problem, if it is a new one. That it can't be written is no error."""
        if problem in self._noted:
            return
        self._noted.add(problem)
        line = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}  {sanitize(problem)}\n".encode()
        with contextlib.suppress(OSError):
            folder = _folder()
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(folder / self._name, "ab", opener=_open_private) as file:
                if file.tell() + len(line) <= _MOST_BYTES:
                    file.write(line)
            for old in reaper_logs()[:-_MOST_FILES]:
                old.unlink()

    def forget(self) -> None:
        """Remove it: all is freed."""
        with contextlib.suppress(OSError):
            (_folder() / self._name).unlink()


def reaper_logs() -> list[Path]:
    """Return the logs of this user's sessions, the oldest first."""
    paths: list[Path] = []
    with contextlib.suppress(OSError):
        paths += _folder().glob("*.log")
    found = []
    for path in paths:
        with contextlib.suppress(OSError):  # it has just been removed
            found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found)]


def reaper_problems() -> list[str]:
    """Name each of these logs in a line for the terminal."""
    return [
        f"the reaper could not free all of {short_name(path.stem)} at once: {path} "
        "says why; delete it once you have read it"
        for path in reaper_logs()
    ]


def _folder() -> Path:
    return cache_folder() / "reaper"


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)
