"""What machines print, copied to the driver with the machine's name before each line."""

from __future__ import annotations

import logging
import sys
from collections import deque

logger = logging.getLogger("bigmachine.boot")

_CONSOLE_LINES = 50  # what a BootError shows
_FAILURES_UNTIL_SHOWN = 3


class BootLog:
    """Whether what machines print while they boot is shown: one for a session.

    Boot noise is hidden, unless the logger ``bigmachine.boot`` is at DEBUG, or
    several boots in a row have failed and somebody will want to know why.
    """

    def __init__(self) -> None:
        self._failures = 0

    @property
    def is_shown(self) -> bool:
        return self._failures >= _FAILURES_UNTIL_SHOWN or logger.isEnabledFor(logging.DEBUG)

    def failed(self) -> None:
        """Count a boot that failed."""
        self._failures += 1
        if self._failures == _FAILURES_UNTIL_SHOWN:
            logger.warning("%d boots failed in a row: boot logs are shown", self._failures)

    def succeeded(self) -> None:
        """Begin to count anew."""
        self._failures = 0


class Output:
    """One machine's output: copied to standard error once it has booted."""

    def __init__(self, name: str, boot_log: BootLog) -> None:
        self._name = name
        self._boot_log = boot_log
        self._last: deque[str] = deque(maxlen=_CONSOLE_LINES)
        self.is_booting = True

    @property
    def console(self) -> str:
        """The last lines it printed."""
        return "\n".join(self._last)

    def line(self, line: bytes) -> None:
        """Take one line, without its newline."""
        text = line.decode(errors="backslashreplace")
        self._last.append(text)
        if not self.is_booting or self._boot_log.is_shown:
            # One write a line, so that lines of several machines don't mix.
            sys.stderr.write(f"{self._name}: {text}\n")
