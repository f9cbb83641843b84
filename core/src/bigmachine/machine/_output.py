"""What machines print, copied to the driver with the machine's name before each line."""

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

_CONSOLE_LINES = 20  # what a BootError shows of how the VM booted
_LINES = 50  # and of what its machine printed
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\r")  # ECMA-48's, with which systemd colours
_FAILURES_UNTIL_SHOWN = 3
_LAST_WORDS_TIMEOUT = 2.0
_BOOT_WORDS_TIMEOUT = 0.5  # of a machine that perhaps goes on running


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
        self._last: deque[str] = deque(maxlen=_LINES)
        self._ended = trio.Event()
        self.is_booting = True

    async def console(self, plugins: Plugins, instance: Instance, *, within: float) -> str:
        """Return its last lines: of its boot console, where there is one, and that it printed."""
        text = ""
        if Capability.CONSOLE in plugins.system.capabilities:
            with trio.move_on_after(within):
                try:
                    text = await plugins.hooks.console(instance=instance)
                except Exception:
                    _machine_logger.exception("%s: its console can't be read", self._name)
        if Capability.TAIL in plugins.system.capabilities:
            # If it has ended, what it said about that may still be on its way.
            with trio.move_on_after(_BOOT_WORDS_TIMEOUT):
                await self._ended.wait()
        lines = [line for line in _ESCAPES.sub("", text).splitlines() if line.strip()]
        return "\n".join([*lines[-_CONSOLE_LINES:], *self._last])

    @contextlib.asynccontextmanager
    async def following(
        self, plugins: Plugins, instance: Instance, *, owned: bool
    ) -> AsyncIterator[None]:
        """Follow an ``owned`` instance's output while the block runs, and for its last words."""
        if not owned or Capability.TAIL not in plugins.system.capabilities:
            yield
            return
        # Shielded: whatever ends the block, there are last words.
        scope = trio.CancelScope(shield=True)

        async def follow() -> None:
            with scope:
                try:
                    async for line in plugins.hooks.tail(instance=instance):
                        self.lines([line])
                except Exception:
                    _machine_logger.exception("%s: its output can't be followed", self._name)
            self._ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            try:
                yield
            finally:
                with trio.move_on_after(_LAST_WORDS_TIMEOUT, shield=True):
                    await self._ended.wait()
                scope.cancel()

    def lines(self, lines: Sequence[bytes]) -> None:
        """Take lines, without their newlines."""
        texts = [line.decode(errors="backslashreplace") for line in lines]
        self._last.extend(texts)
        if texts and (not self.is_booting or self._boot_log.is_shown):
            # In one write, so that lines of several machines don't mix.
            sys.stderr.write("".join(f"{self._name}: {text}\n" for text in texts))
