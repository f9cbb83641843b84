"""A cache of wheels and archives in the user's cache folder; keys are hashes of their content."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .._cache_folder import cache_folder
from ..errors import UsageError

_LIMIT_BYTES = 2 << 30
_IN_USE = 3600.0  # seconds after its last use in which an entry may be about to be sent


class Cache:
    """Files by key. Any number of processes may use one folder at once.

    ``folder`` is by default ``bigmachine`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. If the
    files are larger than ``limit_bytes``, those not used for longest are deleted first. Raises
    `UsageError` if the user has no home folder.
    """

    def __init__(self, folder: Path | None = None, *, limit_bytes: int = _LIMIT_BYTES) -> None:
        if folder is None:
            try:
                folder = cache_folder() / "environment"
            except OSError as exc:
                raise UsageError(
                    "there is no home folder for the cache of wheels and archives: set "
                    "XDG_CACHE_HOME to a folder that can be written"
                ) from exc
        self._folder = folder
        self._limit_bytes = limit_bytes

    def file(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the file of ``key``; if there is none, ``make(folder)`` writes it.

        Raises `UsageError` if the folder cannot be written.
        """
        try:
            return self._file(key, make)
        except OSError as exc:
            raise UsageError(
                f"cannot write the cache {self._folder}: {exc}; free some space there, or set "
                "XDG_CACHE_HOME to a folder that can be written"
            ) from exc

    def _file(self, key: str, make: Callable[[Path], None]) -> Path:
        entry = self._folder / key
        if not entry.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            new = Path(tempfile.mkdtemp(dir=self._folder, prefix=".new-"))
            try:
                make(new)
                self._keep(new, entry)
            finally:
                shutil.rmtree(new, ignore_errors=True)
            self._trim()
        os.utime(entry)
        [file] = entry.iterdir()
        return file

    def _keep(self, new: Path, entry: Path) -> None:
        try:
            new.rename(entry)
        except OSError:
            if not entry.exists():  # if it exists, another process was faster, with the same file
                raise

    def _trim(self) -> None:
        used = {}
        for entry in self._folder.iterdir():
            try:
                size = sum(file.stat().st_size for file in entry.iterdir())
                used[entry] = (entry.stat().st_mtime, size)
            except OSError:
                continue  # another process has just deleted it
        total = sum(size for _, size in used.values())
        for entry, (last_use, size) in sorted(used.items(), key=lambda item: item[1]):
            if total <= self._limit_bytes or last_use > time.time() - _IN_USE:
                break
            shutil.rmtree(entry, ignore_errors=True)
            total -= size
