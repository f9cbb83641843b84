"""A terminal as standard error, and what a person sees on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest


class Terminal:
    """A terminal of some size: programs write to ``stream``, and `lines` is what it shows."""

    def __init__(self, *, rows: int, columns: int) -> None:
        self._controller, self._descriptor = os.openpty()
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, size)
        self.stream = open(self._descriptor, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self.raw = b""
        """All that was written to it."""
        self._screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._parser = pyte.ByteStream(self._screen)
        self._reads = 0

    @property
    def lines(self) -> list[str]:
        """All lines that were written, also those that scrolled away, without trailing space."""
        # The kernel hands on what is written a moment later: read up to a title of our own.
        self._reads += 1
        title = f"read {self._reads}"
        os.write(self._descriptor, f"\x1b]2;{title}\x07".encode())
        while self._screen.title != title:
            data = os.read(self._controller, 1 << 16)
            self.raw += data
            self._parser.feed(data)
        columns = range(self._screen.columns)
        above = ["".join(line[x].data for x in columns) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self._screen.display]).split("\n")

    @property
    def text(self) -> str:
        """The same as one text, without empty lines at its end."""
        return "\n".join(self.lines).rstrip("\n")

    def color_of(self, text: str) -> str:
        """The color in which the screen shows a line that begins with this."""
        assert text in self.text  # which also reads what was written
        row = next(y for y, line in enumerate(self._screen.display) if line.startswith(text))
        return self._screen.buffer[row][0].fg

    def close(self) -> None:
        self.stream.close()
        os.close(self._controller)


@contextlib.contextmanager
def terminal_as_stderr(*, rows: int = 24, columns: int = 80) -> Iterator[Terminal]:
    """Make a terminal this process's standard error."""
    it = Terminal(rows=rows, columns=columns)
    with contextlib.closing(it), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm-256color")
        for variable in ("NO_COLOR", "CI"):
            patch.delenv(variable, raising=False)
        patch.setattr(sys, "stderr", it.stream)
        yield it


@contextlib.contextmanager
def shop_on_terminal(
    folder: Path, program: str, *, environ: dict[str, str], **options: Any
) -> Iterator[pexpect.spawn]:
    """Run ``program`` as ``shop.py`` of ``folder``, on a terminal; it ends with the block."""
    (folder / "shop.py").write_text(program)
    with contextlib.closing(
        pexpect.spawn(
            sys.executable,
            ["shop.py"],
            cwd=folder,
            env={**os.environ, "CI": "", **environ},
            timeout=60,
            **options,
        )
    ) as terminal:
        yield terminal
