"""The reaper process: it runs beside the driver, and frees its leftovers if it is killed.

Machines whose driver is dead end by themselves, after a while. But a machine that hangs does
not, and a session's other resources stay at its provider. This process shares only a pipe with
the driver, and frees both within seconds, by the hooks `instances` and `stop`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import subprocess
import sys

import trio

from .._backoff import backoff
from .._driver import Driver
from ..errors import StartError, UsageError
from ..process import (
    close_in_children,
    module_path,
    pack,
    python_command,
    python_environ,
    start_command,
)
from ..rpc import dumps_whole
from ..system import System

logger = logging.getLogger("bigmachine.reaper")

_PARTING_SECONDS = 5.0  # for the process to end once it is dismissed


class ReaperProcess:
    """The driver's end of it, for ``session``, if the system uses a reaper.

    `start` it before anything is made; `dismiss` it once all is freed. A process that dies
    before that is replaced.
    """

    def __init__(self, system: System, *, session: str) -> None:
        self._system = system
        self._session = session
        # On Windows nobody can wait for the pipe and look at the driver, too.
        self._is_needed = system.uses_reaper and sys.platform != "win32"
        self._process: trio.Process | None = None
        self._start_lock = trio.Lock()

    def check(self) -> None:
        """Raise `UsageError` if this program can't start such a process."""
        if self._is_needed:
            python_command()

    async def start(self, nursery: trio.Nursery) -> None:
        """Start the process, for all that this driver makes from now on. May be called again.

        It is watched in ``nursery``.
        """
        if self._is_needed:
            async with self._start_lock:
                if self._process is None:
                    self._process = await self._open()
                    nursery.start_soon(self._replace, self._process, name="bigmachine reaper")

    async def dismiss(self) -> None:
        """Let it end: nothing is left for it to free."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with trio.move_on_after(_PARTING_SECONDS, shield=True) as scope:
            try:
                await self._process.stdin.send_all(b"done\n")
                await self._process.stdin.aclose()
            except trio.BrokenResourceError:
                pass  # somebody has killed it
            await self._process.wait()
        if scope.cancelled_caught:
            self._process.kill()

    async def _replace(self, process: trio.Process) -> None:
        """Start another process whenever one dies, until cancelled."""
        for pause in backoff():
            status = await process.wait()
            logger.warning(
                "the reaper of session %s (pid %d) ended with status %d; starting another",
                self._session,
                process.pid,
                status,
            )
            await trio.sleep(pause)
            try:
                process = self._process = await self._open()
            except (StartError, UsageError) as exc:
                logger.error(
                    "%s; if this driver is killed, free what it leaves with `bigmachine reap`", exc
                )
                return

    async def _open(self) -> trio.Process:
        system = (type(self._system), self._system.options)
        order = {
            "session": self._session,
            "driver": str(Driver.here()),
            "system": base64.b64encode(dumps_whole(system)).decode(),
        }
        try:
            process = await trio.lowlevel.open_process(
                start_command("bigmachine.reaper._main:main", 0),
                stdin=subprocess.PIPE,
                # A reader of the driver's output must not have to wait until this process ends.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=os.sep,  # the driver's folder may be removed meanwhile
                env=python_environ(),
                start_new_session=True,  # neither Ctrl-C nor a closed terminal is for it
            )
        except OSError as exc:
            raise StartError(f"the reaper process can't be started: {exc}") from exc
        assert process.stdin is not None
        close_in_children(process.stdin)  # type: ignore[type-var]  # it has fileno() here
        with contextlib.suppress(trio.BrokenResourceError):  # it has died: `_replace` sees it
            await process.stdin.send_all(pack(module_path()) + json.dumps(order).encode() + b"\n")
        return process
