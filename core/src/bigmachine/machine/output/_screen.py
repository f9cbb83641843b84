"""Some lines below the cursor of the driver's terminal, which change while it goes on being used.

They take no part in what the terminal shows otherwise: the cursor is put back to where it was.
So whatever else is printed, by this program or another one, is printed as ever, over them; then
they are drawn again, below it. To take them away leaves nothing behind, nor does the end of the
process at any moment leave a cursor or a terminal that must be repaired.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ._text_streams import is_terminal, is_writable, write_to_descriptor

_DEFAULT_SIZE = os.terminal_size((80, 24))  # of terminals that do not know theirs

# By ECMA-48, and DEC's VT100, which all terminals follow that have a cursor.
_INDEX = "\x1bD"  # down; at the bottom, all lines scroll up. The column stays
_UP = "\x1b[{}A"
_SAVE, _RESTORE = "\x1b7", "\x1b8"  # the cursor, and its colors
_PLAIN = "\x1b[m"  # no colors
_ERASE_LINE, _ERASE_BELOW = "\x1b[K", "\x1b[J"  # from the cursor on


class Terminal(NamedTuple):
    """A terminal, as it is now."""

    descriptor: int
    columns: int
    rows: int
    encoding: str


class Screen:
    """The lines, of which the process has one set: `screen`. Safe to use in any thread.

    It writes only while the terminal takes it: one that is stopped holds nobody up.
    """

    def __init__(self) -> None:
        # Held for a moment, whatever others do meanwhile. One thread may take it twice: what it
        # frees here may write, too, such as a future whose error nobody has asked for.
        self._lock = threading.RLock()
        self._terminal: Terminal | None = None  # on which there are lines
        self._drawing = ""
        self._others = 0  # that write
        self._question: Callable[[], str] | None = None

    def show(self, terminal: Terminal, lines: Sequence[str]) -> None:
        """Draw lines, which are not wider than the terminal, in place of the earlier ones."""
        lines = lines[: max(1, terminal.rows - 2)]
        rows = "".join(f"\r\n{line}{_ERASE_LINE}" for line in lines)
        space = _INDEX * len(lines) + _UP.format(len(lines))
        with self._lock:
            self._terminal = terminal
            self._drawing = f"{_ERASE_LINE}{space}{_SAVE}{_PLAIN}{rows}{_ERASE_BELOW}{_RESTORE}"
            if not self._others:
                self._write(self._drawing)

    def clear(self) -> None:
        """Take the lines away."""
        with self._lock:
            self._write(_ERASE_BELOW)
            self._terminal = None

    @contextlib.contextmanager
    def cleared(self) -> Iterator[None]:
        """Have no lines while the block writes, so that several lines do not mix with them."""
        with self._lock:
            self._others += 1
            self._write(_ERASE_BELOW)
            self._erase_question()
        try:
            yield
        finally:
            with self._lock:
                self._others -= 1
                if not self._others:
                    self._write(self._drawing)
                self._ask_again()

    @contextlib.contextmanager
    def asking(self, question: Callable[[], str]) -> Iterator[None]:
        """Wait in the block for what the user types after a question.

        ``question`` returns it, with what is typed so far: it is taken away for what others
        write meanwhile, and then stands below.
        """
        with self._lock:
            self._question = question
        try:
            yield
        finally:
            with self._lock:
                self._question = None

    def give_up_asking(self) -> None:
        """Let the question stand: nobody needs what is typed any longer."""
        with self._lock:
            self._question = None

    def _erase_question(self) -> None:
        if self._question is not None and (at := terminal()) is not None:
            rows = len(self._question()) // at.columns
            up = _UP.format(rows) if rows else ""
            write_to_descriptor(at.descriptor, f"\r{up}{_ERASE_BELOW}".encode())

    def _ask_again(self) -> None:
        if self._question is not None and (at := terminal()) is not None:
            write_to_descriptor(at.descriptor, self._question().encode(at.encoding, "replace"))

    def _write(self, text: str) -> None:
        if (terminal := self._terminal) is None or not is_writable(terminal.descriptor):
            return
        with contextlib.suppress(OSError):  # it is closed: the next `show` is for another one
            write_to_descriptor(terminal.descriptor, text.encode(terminal.encoding, "replace"))


screen = Screen()

if hasattr(os, "register_at_fork"):
    # The child has none of our threads, one of which may have held the lock.
    os.register_at_fork(after_in_child=screen.__init__)  # type: ignore[misc]


def terminal() -> Terminal | None:
    """Return the terminal that standard error is, if this program may draw on it.

    An object that a program has put in the place of standard error is none: notebooks do that,
    and so do other live displays, which such lines would disturb. Some services for continuous
    integration have a terminal, but keep what it shows as text; they set ``CI``.
    """
    stream: Any = sys.stderr  # Any: users put all kinds of objects there
    if os.environ.get("CI") or type(stream) is not io.TextIOWrapper or not is_terminal(stream):
        return None
    try:
        descriptor = stream.fileno()
        size = os.get_terminal_size(descriptor)
    except (OSError, ValueError):  # closed, meanwhile
        return None
    if 0 in size:
        size = _DEFAULT_SIZE
    return Terminal(descriptor, size.columns, size.lines, stream.encoding)


def is_in_background(descriptor: int) -> bool:
    """Whether the terminal belongs to another job of its shell now, and to the user's typing."""
    try:
        return os.tcgetpgrp(descriptor) != os.getpgrp()
    except (OSError, AttributeError):  # it controls no jobs; or there are none on this platform
        return False
