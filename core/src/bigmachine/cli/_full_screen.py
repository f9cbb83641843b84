"""The whole screen of a terminal, and its keys; both as they were before when it ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

# By ECMA-48 and xterm: the other screen, which keeps what was there, and no cursor.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _ERASE_LINE, _ERASE_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"

_KEYS = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1bOC": "right",
    "\x1bOD": "left",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
}


class FullScreen:
    """Standard output and input as a screen and keys, while the ``with`` block runs."""

    def __init__(self) -> None:
        self.is_new = True
        """Whether nothing is drawn on it yet: at the beginning, and after Ctrl-Z and ``fg``."""
        self._saved: list[Any] = []  # Any: it is termios' own
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> FullScreen:
        for number, handler in ((signal.SIGTSTP, self._suspend), (signal.SIGTERM, _end)):
            self._handlers[number] = signal.signal(number, handler)
        self._enter()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, which are not wider than the screen."""
        self.is_new = False
        rows = "\r\n".join(f"{line}{_ERASE_LINE}" for line in lines)
        _write(f"{_HOME}{rows}{_ERASE_BELOW}")

    def keys(self, seconds: float) -> list[str]:
        """Return the keys that are pressed within this time; ``"\\x04"`` if no more can be."""
        if not select.select([sys.stdin], [], [], seconds)[0]:
            return []
        try:
            text = os.read(sys.stdin.fileno(), 1024).decode(errors="replace")
        except OSError:  # the terminal is closed
            text = ""
        if text in _KEYS:
            return [_KEYS[text]]
        return ["\x04"] if not text else [*text] if not text.startswith("\x1b") else []

    def _enter(self) -> None:
        import termios
        import tty

        self._saved = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        self.is_new = True
        _write(_ENTER)

    def _leave(self) -> None:
        import termios

        with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
            _write(_LEAVE)
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        self._leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._enter()  # by `fg`


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
