"""Where a backend may have put a private key for others to read: its files, arguments and logs."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from ._processes import HostProcess

_MAX_BYTES = 1 << 20  # a larger file holds no key, or is not made for one
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH
_OTHERS_ENTER = stat.S_IXGRP | stat.S_IXOTH


class WrittenFiles:
    """Records the files that this process opens for writing, wherever they are.

    It looks at each when it is made private or deleted, too.
    """

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._seen: list[tuple[str, bytes]] = []

    def __enter__(self) -> WrittenFiles:
        _have_hook()
        _recorders.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _recorders.remove(self)

    def exposed(self, *folders: str) -> list[tuple[str, bytes]]:
        """Return each recorded file, and each in ``folders``, that others may read; and its text.

        Also those that others could read for a while.
        """
        found = set(self._paths)
        for folder in folders:
            for inside, _, names in os.walk(folder):
                found |= {os.path.join(inside, name) for name in names}
        for path in sorted(found):
            self._look(path)
        return self._seen

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        """Take an audit event of this process."""
        if event == "open":
            path, _, flags = arguments
            is_writing = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
            if is_writing and isinstance(path, str | bytes):
                self._paths.add(os.path.abspath(os.fsdecode(path)))
        elif event in ("os.chmod", "os.remove", "os.rename") and isinstance(
            arguments[0], str | bytes | os.PathLike
        ):
            path = os.path.abspath(os.fsdecode(arguments[0]))
            if path in self._paths:
                self._look(path)  # the event comes before the change

    def _look(self, path: str) -> None:
        with contextlib.suppress(OSError):
            if _is_exposed(path):
                with open(path, "rb") as file:
                    self._seen.append((path, file.read(_MAX_BYTES)))


_recorders: list[WrittenFiles] = []


@functools.cache
def _have_hook() -> None:
    """Have the process's events heard: by one hook, since none can be taken away again."""

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        for recorder in _recorders:
            recorder.hear(event, arguments)

    sys.addaudithook(hear)


class LogText(logging.Handler):
    """Collects all that is logged, at any level, while its block runs."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.text = ""
        self._level = logging.root.level

    def __enter__(self) -> LogText:
        logging.root.addHandler(self)
        logging.root.setLevel(logging.NOTSET)
        return self

    def __exit__(self, *_: object) -> None:
        logging.root.removeHandler(self)
        logging.root.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.text += self.format(record) + "\n"


def shown_of(process: HostProcess) -> Iterator[tuple[str, bytes]]:
    """Yield what every user of the computer sees of a process, and where."""
    for file in ("cmdline", "environ"):
        with contextlib.suppress(OSError):
            yield f"the {file} of {process}", Path(f"/proc/{process.pid}/{file}").read_bytes()


def _is_exposed(path: str) -> bool:
    """Whether users other than the owner may read the file, and enter all folders above it."""
    found = os.stat(path)
    if not (stat.S_ISREG(found.st_mode) and found.st_mode & _OTHERS_READ):
        return False
    return all(os.stat(folder).st_mode & _OTHERS_ENTER for folder in Path(path).parents)
