"""The machine's log: files on its disk that the driver reads from any offset.

The boot program writes it, and reads it for the driver; later the worker reads it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time

from .common import CHUNK_BYTES

LOG_BYTES = 16 << 20  # of one file of the log; there are at most two


class LogFiles:
    """What was printed, in files and on the console.

    A file's name is the offset of its first byte. Only the last two are kept, because the
    disk must not fill up.
    """

    def __init__(self, folder: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.folder = folder
        self._open(0)
        self._lock = threading.RLock()  # a signal may come while it is held
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Write a message of one or several lines, with the time."""
        line = f"bigmachine [{time.monotonic() - self._began:6.2f} s] {text.rstrip()}\n"
        self.write(line.encode("utf-8", "replace"))

    def write(self, data: bytes, to_console: bool = True) -> None:
        """Write data as it is; it is lost if the disk is full."""
        with self._lock:
            for fd in (self._file, 2)[: 1 + to_console]:
                with contextlib.suppress(OSError):
                    os.write(fd, data)
            with contextlib.suppress(OSError):
                if (size := os.fstat(self._file).st_size) >= LOG_BYTES:
                    for start in file_offsets(self.folder)[:-1]:
                        os.unlink(f"{self.folder}/{start}")
                    full = self._file
                    self._open(self._start + size)
                    os.close(full)

    def _open(self, start: int) -> None:
        self._file = os.open(f"{self.folder}/{start}", os.O_WRONLY | os.O_CREAT)
        self._start = start


def read_log(folder: str, offset: int) -> tuple[int, bytes]:
    """Return part of the log from ``offset`` on, and the offset of its first byte.

    This is later than ``offset`` if the file with that part was deleted.
    """
    while True:
        starts = file_offsets(folder)
        start = max([s for s in starts if s <= offset] or starts[:1])
        begin = max(start, offset)
        # The file may have been deleted since.
        with contextlib.suppress(FileNotFoundError), open(f"{folder}/{start}", "rb") as file:
            file.seek(begin - start)
            return begin, file.read(CHUNK_BYTES)


def file_offsets(folder: str) -> list[int]:
    """Return the offsets of the log's files, in order."""
    return sorted(map(int, os.listdir(folder)))
