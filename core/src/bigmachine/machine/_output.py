"""What one machine prints: line by line to the driver's standard error, and kept for errors."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Sequence

import trio

from .._values import Instance, LinePart
from ..errors import sanitize, sanitize_line
from ..logs._kept import KeptLog, end_of_character
from ..logs._record_lines import LINE_BYTES
from ..system import Capability
from ..system._plugins import Plugins
from .output._stderr import StderrWriter

logger = logging.getLogger("bigmachine.boot")
_machine_logger = logging.getLogger("bigmachine.machine")

_CONSOLE_LINES = 20  # of the boot console, in a BootError
_LINES = 50  # of what the machine printed, in a BootError
_ERROR_CHARACTERS = 1000  # of each line, in a BootError
_LINE_BYTES = 1 << 16  # longer lines are shown in parts
_MOVES_UP = re.compile(rb"\x1b\[\d*[AF]")
_FAILURES_UNTIL_SHOWN = 3
_LAST_LINES_SECONDS = 2.0
_BOOT_LINES_SECONDS = 0.5  # for a machine that perhaps goes on running
_ENDED_LINES_SECONDS = 1.0  # for one whose process has ended; its callers wait meanwhile
# How long a machine waits in `print` for a standard error that is slow: so many seconds, and
# after that at most such a fraction of the time.
_PATIENCE_SECONDS = 1.0
_PATIENCE_FRACTION = 0.1
_PATIENCE_STEP = 0.01


class BootOutput:
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
        """Count a failed boot."""
        self._failures += 1
        if self._failures == _FAILURES_UNTIL_SHOWN:
            logger.warning("%d boots failed in a row: boot logs are shown", self._failures)

    def succeeded(self) -> None:
        """Reset the count."""
        self._failures = 0


class Output:
    """One machine's output: kept in ``log``, and written to standard error once it has booted.

    Records of the machine's `logging` are in it, each as a line; see `record_line`.
    """

    def __init__(
        self, name: str, *, boot_output: BootOutput, stderr: StderrWriter, log: KeptLog
    ) -> None:
        self._name = sanitize_line(name)
        self._boot_output = boot_output
        self._stderr = stderr
        self._log = log
        self._is_followed = False
        self._begin_of_record = log.begin_of_record
        self._unfinished = b""
        self._redrawn = b""  # the last state of one of several bars, which has a line of its own
        self._patience = _PATIENCE_SECONDS
        self._was_patient = 0.0  # when it last waited
        self._ended = trio.Event()
        self.is_booting = True

    async def console(self, plugins: Plugins, instance: Instance, *, within: float) -> str:
        """Return its last lines: of its boot console, if there is one, and of its output."""
        text = ""
        if Capability.CONSOLE in plugins.system.capabilities:
            with trio.move_on_after(within):
                try:
                    text = await plugins.hooks.console(instance=instance)
                except Exception:
                    _machine_logger.exception("%s: reading its console failed", self._name)
        if Capability.TAIL in plugins.system.capabilities:
            # If it has ended, its last lines may still be on their way.
            with trio.move_on_after(_BOOT_LINES_SECONDS):
                await self._ended.wait()
        console = [line for line in sanitize(text).split("\n") if line.strip()]
        printed = self.last_text().split("\n")[-_LINES:]
        lines = [*console[-_CONSOLE_LINES:], *printed]
        return "\n".join(_shortened(line) for line in lines if line)

    @contextlib.asynccontextmanager
    async def following(
        self, plugins: Plugins, instance: Instance, *, owned: bool
    ) -> AsyncIterator[None]:
        """Follow an ``owned`` instance's output while the block runs, and until its last line."""
        if not owned or Capability.TAIL not in plugins.system.capabilities:
            try:
                yield
            finally:
                self.finish()
            return
        # Shielded: whatever ends the block, the last lines are still to come.
        scope = trio.CancelScope(shield=True)
        self._is_followed = True

        async def follow() -> None:
            with scope:
                try:
                    async for line in plugins.hooks.tail(instance=instance):
                        self.lines([line])
                        await self.catch_up()
                except Exception:
                    _machine_logger.exception("%s: following its output failed", self._name)
            self._ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            try:
                yield
            finally:
                with trio.move_on_after(_LAST_LINES_SECONDS, shield=True):
                    await self._ended.wait()
                scope.cancel()
                self.finish()

    async def await_end(self) -> None:
        """Wait a moment for the last line of a machine that has ended, if its system follows it."""
        if self._is_followed:
            with trio.move_on_after(_ENDED_LINES_SECONDS):
                await self._ended.wait()

    def last_text(self) -> str:
        """Return all that is kept of it, and the line that is not finished."""
        unfinished = sanitize(self._unfinished.decode(errors="backslashreplace"))
        lines = [line.full_text for line in self._log.lines()]
        return "\n".join([*lines, *filter(None, [unfinished])])

    def lines(self, lines: Sequence[bytes]) -> None:
        """Take lines, without their newlines; a `LinePart` is not the end of its line."""
        for line in lines:
            rest = self._unfinished + line
            if (at := rest.find(self._begin_of_record)) >= 0 and len(rest) - at <= LINE_BYTES:
                self._take_record(rest, at, is_part=isinstance(line, LinePart))
                continue
            rest = _last_redrawn(rest)
            while len(rest) > _LINE_BYTES:
                end = end_of_character(rest, _LINE_BYTES)
                self._show(rest[:end] + "…".encode())
                rest = rest[end:]
            is_part = isinstance(line, LinePart)
            self._unfinished = rest if is_part else b""
            is_redrawn = b"\x1b" in rest and _MOVES_UP.search(rest) is not None
            if is_redrawn:
                self._redrawn = rest
            if is_part or is_redrawn:
                if self._is_shown:
                    self._stderr.step(self._name, rest)
            else:
                self._show(rest)

    def finish(self) -> None:
        """Take the last line as it is: it will not be continued."""
        if self._unfinished:
            self.lines([b""])
        elif self._redrawn:
            last, self._redrawn = self._redrawn, b""
            self._show(last)

    async def catch_up(self) -> None:
        """Give standard error time to take what there is, before more is read.

        Meanwhile a machine that prints faster waits in its ``print``, but not for long: then
        lines are dropped.
        """
        if not self._stderr.is_busy:
            return
        now = trio.current_time()
        gained = (now - self._was_patient) * _PATIENCE_FRACTION
        patience = min(_PATIENCE_SECONDS, self._patience + gained)
        while self._stderr.is_busy and patience > 0:
            await trio.sleep(_PATIENCE_STEP)
            now, before = trio.current_time(), now
            patience -= now - before
        self._patience, self._was_patient = patience, now

    def _take_record(self, line: bytes, at: int, *, is_part: bool) -> None:
        """Take a line in which a record begins at ``at``, after something that was not finished."""
        self._unfinished = line if is_part else b""
        if not is_part:
            if at:
                self.lines([line[:at]])
            self._show(line[at:])

    @property
    def _is_shown(self) -> bool:
        return not self.is_booting or self._boot_output.is_shown

    def _show(self, line: bytes) -> None:
        redrawn, self._redrawn = self._redrawn, b""
        for whole in [redrawn, line] if redrawn else [line]:
            self._log.add(whole)
            if self._is_shown:
                self._stderr.line(self._name, whole)


def _shortened(line: str) -> str:
    return line if len(line) <= _ERROR_CHARACTERS else f"{line[:_ERROR_CHARACTERS]}…"


def _last_redrawn(line: bytes) -> bytes:
    """Return what follows the last carriage return that something follows."""
    if b"\r" not in line:
        return line
    return line[line.rfind(b"\r", 0, len(line.rstrip(b"\r"))) + 1 :]
