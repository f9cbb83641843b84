"""A terminal as standard error, and what a person sees on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import termios
from collections.abc import Iterator

import pyte
import pytest


class Terminal:
    """A terminal of some size: programs write to ``stream``, and `lines` is what it shows."""

    def __init__(self, *, rows: int, columns: int) -> None:
        self._controller, descriptor = os.openpty()
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, size)
        os.set_blocking(self._controller, False)
        self.stream = open(descriptor, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self.raw = b""
        """All that was written to it."""
        self._screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._parser = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        """All lines that were written, also those that scrolled away, without trailing space."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._controller, 1 << 16):
                self.raw += data
                self._parser.feed(data)
        columns = range(self._screen.columns)
        above = ["".join(line[x].data for x in columns) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self._screen.display]).split("\n")

    @property
    def text(self) -> str:
        """The same as one text, without empty lines at its end."""
        return "\n".join(self.lines).rstrip("\n")

    def close(self) -> None:
        self.stream.close()
        os.close(self._controller)


@contextlib.contextmanager
def terminal_as_stderr(*, rows: int = 24, columns: int = 80) -> Iterator[Terminal]:
    """Make a terminal this process's standard error."""
    it = Terminal(rows=rows, columns=columns)
    with contextlib.closing(it), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm-256color")
        patch.delenv("NO_COLOR", raising=False)
        patch.setattr(sys, "stderr", it.stream)
        yield it
