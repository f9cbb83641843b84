"""What machines print, copied to the driver's standard error with the machine's name."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence

import trio

from .._values import Instance
from ..system import Capability
from ..system._plugins import Plugins

logger = logging.getLogger("bigmachine.boot")
_machine_logger = logging.getLogger("bigmachine.machine")

_CONSOLE_LINES = 20  # of the boot console, in a BootError
_LINES = 50  # of what the machine printed, in a BootError
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\r")  # ECMA-48's, with which systemd colours
_FAILURES_UNTIL_SHOWN = 3
_LAST_LINES_SECONDS = 2.0
_BOOT_LINES_SECONDS = 0.5  # for a machine that perhaps goes on running


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
        """Count a failed boot."""
        self._failures += 1
        if self._failures == _FAILURES_UNTIL_SHOWN:
            logger.warning("%d boots failed in a row: boot logs are shown", self._failures)

    def succeeded(self) -> None:
        """Reset the count."""
        self._failures = 0


class Output:
    """One machine's output: copied to standard error once it has booted."""

    def __init__(self, name: str, boot_log: BootLog) -> None:
        self._name = name
        self._boot_log = boot_log
        self._last: deque[str] = deque(maxlen=_LINES)
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
        lines = [line for line in _ESCAPES.sub("", text).splitlines() if line.strip()]
        return "\n".join([*lines[-_CONSOLE_LINES:], *self._last])

    @contextlib.asynccontextmanager
    async def following(
        self, plugins: Plugins, instance: Instance, *, owned: bool
    ) -> AsyncIterator[None]:
        """Follow an ``owned`` instance's output while the block runs, and until its last line."""
        if not owned or Capability.TAIL not in plugins.system.capabilities:
            yield
            return
        # Shielded: whatever ends the block, the last lines are still to come.
        scope = trio.CancelScope(shield=True)

        async def follow() -> None:
            with scope:
                try:
                    async for line in plugins.hooks.tail(instance=instance):
                        self.lines([line])
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

    def lines(self, lines: Sequence[bytes]) -> None:
        """Take lines, without their newlines."""
        texts = [line.decode(errors="backslashreplace") for line in lines]
        self._last.extend(texts)
        if texts and (not self.is_booting or self._boot_log.is_shown):
            # In one write, so that lines of several machines don't mix.
            sys.stderr.write("".join(f"{self._name}: {text}\n" for text in texts))
