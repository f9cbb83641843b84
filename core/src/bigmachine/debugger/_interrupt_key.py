"""Ctrl-C at the debugger's prompt: a character in the line, in place of a signal.

The signal would reach the main thread, which waits for the call that is being debugged, and would
cancel it. The prompt is in another thread.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
from collections.abc import Iterator

INTERRUPT = "\x03"
"""What is in the line after Ctrl-C."""


@contextlib.contextmanager
def typed_interrupts() -> Iterator[None]:
    """Have Ctrl-C end the line that is typed; without effect where there is no terminal."""
    try:
        import termios

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError, AttributeError, termios.error):
        yield
        return
    key = before[6][termios.VINTR]

    def restore() -> None:
        with contextlib.suppress(OSError, ValueError, termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

    changed = [*before[:6], [*before[6]]]
    changed[6][termios.VINTR] = b"\0"  # none
    changed[6][termios.VEOL] = key  # without readline: it ends the line
    termios.tcsetattr(descriptor, termios.TCSADRAIN, changed)
    atexit.register(restore)  # the program may end while this thread waits
    try:
        _bind()
        yield
    finally:
        restore()
        atexit.unregister(restore)


def _bind() -> None:
    """With readline: have the key end the line, and be its last character."""
    try:
        import readline
    except ImportError:
        return
    if "libedit" in (readline.__doc__ or ""):
        readline.parse_and_bind(r'bind -s "^C" "^E^V^C\n"')
    else:
        # To the end of the line, the key itself, and return.
        readline.parse_and_bind(r'"\C-c": "\C-e\C-q\C-c\C-m"')
