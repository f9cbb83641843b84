"""Where the driver's user types: a terminal, or the cell of a notebook."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType
from typing import Any

from ..machine.output._screen import is_in_background, screen
from ._interrupt_key import INTERRUPT, typed_interrupts

# Matches for a text in a line, from one column to another.
Complete = Callable[[str, str, int, int], list[str]]

_DELIMITERS = " \t\n`@#%^&*()=+[{]}\\|;:'\",<>?"  # those of pdb: names with dots are one word

_turn = threading.Lock()  # of all sessions of the process: one prompt at a time


class Console:
    """The terminal, or whatever else `input` and `print` use now; in a thread that may wait."""

    def __init__(self, output: Any) -> None:
        self._output = output

    def read(self, output: str, prompt: str, complete: Complete) -> str:
        """Print ``output``; return the line typed after ``prompt``, empty at the end of input."""
        with _turn, screen.cleared():
            self._print(output)
            while True:
                try:
                    with typed_interrupts(), _completed_by(complete):
                        line = self._ask(prompt)
                except EOFError:
                    self._print("\n")
                    return ""
                except KeyboardInterrupt:  # of an input() that knows the key by itself
                    pass
                else:
                    if INTERRUPT not in line:
                        return line + "\n"
                    _forget_line(line)
                if not self._has_input():  # nothing has moved the cursor to a new line
                    self._print("\n")
                self._print("--KeyboardInterrupt--\n")

    def write(self, text: str) -> None:
        """Print text that needs no answer; it is lost if the program has closed the terminal."""
        with _turn, screen.cleared(), contextlib.suppress(OSError, ValueError):
            self._print(text)

    def give_up(self, text: str) -> None:
        """Print text although another thread reads a line, which nobody needs any longer."""
        with screen.cleared():
            self._print(text)
            screen.give_up_asking()

    def _ask(self, prompt: str) -> str:
        with screen.asking(lambda: prompt + _typed()):
            if self._has_input():
                return input(prompt)
            self._print(prompt)
            line = _read_line(sys.stdin.fileno())
        if not line:
            raise EOFError
        return line.decode(sys.stdin.encoding, "replace").removesuffix("\n")

    def _has_input(self) -> bool:
        """Whether `input` is a notebook's, or has readline; else Ctrl-C would not end its line.

        It uses readline only for the process's own standard input and output.
        """
        if not isinstance(builtins.input, BuiltinFunctionType) or sys.platform == "win32":
            return True
        if self._output is not sys.stdout or "readline" not in sys.modules:
            return False
        return (sys.stdin.fileno(), sys.stdout.fileno()) == (0, 1)

    def _print(self, text: str) -> None:
        if text:
            self._output.write(text)
            self._output.flush()


def find_console() -> Console | str:
    """Return what the user types in now, or why there is nothing."""
    if not isinstance(builtins.input, BuiltinFunctionType):  # a notebook's, or another shell's
        return Console(sys.stdout)
    if os.environ.get("CI"):
        return "this is continuous integration, as the variable CI says"
    if not _is_terminal(sys.stdin):
        return "standard input is not a terminal"
    output = next((each for each in (sys.stdout, sys.stderr) if _is_terminal(each)), None)
    if output is None:
        return "neither standard output nor standard error is a terminal"
    with contextlib.suppress(OSError, ValueError):  # no file
        if is_in_background(sys.stdin.fileno()):
            return "it runs in the background of its terminal"
    return Console(output)


def is_interactive() -> bool:
    """Whether somebody types this program, in a notebook or at Python's prompt."""
    return hasattr(sys, "ps1")


def is_user_typing() -> bool:
    """Whether the user types something else now: a statement, or what pdb asks for here."""
    namespace = sys.modules["__main__"].__dict__
    cmd = sys.modules.get("cmd")  # not imported here: a user's own cmd.py would be
    prompt = cmd.Cmd.cmdloop.__code__ if cmd is not None and hasattr(cmd, "Cmd") else None
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code is prompt:
            return True
        if frame.f_globals is namespace:
            return False
        frame = frame.f_back
    return is_interactive()


def _is_terminal(stream: Any) -> bool:
    try:
        return type(stream) is io.TextIOWrapper and stream.isatty()
    except ValueError:  # closed
        return False


@contextlib.contextmanager
def _completed_by(complete: Complete) -> Iterator[None]:
    """Let the tab key complete words, if Python has readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    matches: list[str] = []

    def find(text: str, state: int) -> str | None:
        if state == 0:
            line = readline.get_line_buffer()
            matches[:] = complete(text, line, readline.get_begidx(), readline.get_endidx())
        return matches[state] if state < len(matches) else None

    before = readline.get_completer(), readline.get_completer_delims()
    readline.set_completer(find)
    readline.set_completer_delims(_DELIMITERS)
    if "libedit" in (readline.__doc__ or ""):
        readline.parse_and_bind("bind ^I rl_complete")
    else:
        readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        readline.set_completer(before[0])
        readline.set_completer_delims(before[1])


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith((b"\n", INTERRUPT.encode())) and (part := os.read(descriptor, 4096)):
        line += part
    return line


def _forget_line(line: str) -> None:
    """Take a line out of readline's history, if it is the last one."""
    readline = sys.modules.get("readline")
    if readline is None:
        return
    count = readline.get_current_history_length()
    if count and readline.get_history_item(count) == line:
        readline.remove_history_item(count - 1)


def _typed() -> str:
    readline = sys.modules.get("readline")
    return readline.get_line_buffer() if readline is not None else ""
