"""The reaper process: it runs beside the driver, and frees its leftovers if it is killed.

Machines whose driver is dead end by themselves, after a while. But a machine that hangs does
not, and a session's other resources stay at its provider. This process shares only a pipe with
the driver, and frees both within seconds, by the hooks `instances` and `stop`.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import trio

from .._driver import Driver
from ..rpc import dumps_whole
from ..system import System

_PARTING_SECONDS = 5.0  # for the process to end once it is dismissed


class ReaperProcess:
    """The driver's end of it, for ``session``, if the system uses a reaper.

    `start` it before anything is made; `dismiss` it once all is freed.
    """

    def __init__(self, system: System, *, session: str) -> None:
        self._system = system
        self._session = session
        self._process: trio.Process | None = None
        self._start_lock = trio.Lock()

    async def start(self) -> None:
        """Start the process, for all that this driver makes from now on. May be called again."""
        # On Windows nobody can wait for the pipe and look at the driver, too.
        if self._system.uses_reaper and sys.platform != "win32":
            async with self._start_lock:
                if self._process is None:
                    self._process = await self._open()

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

    async def _open(self) -> trio.Process:
        system = (type(self._system), self._system.options)
        order = {
            "session": self._session,
            "driver": str(Driver.here()),
            "path": [os.path.abspath(entry) for entry in sys.path],
            "system": base64.b64encode(dumps_whole(system)).decode(),
        }
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "bigmachine.reaper"],
            stdin=subprocess.PIPE,
            # A reader of the driver's output must not have to wait until this process ends.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # neither Ctrl-C nor a closed terminal is for it
        )
        assert process.stdin is not None
        await process.stdin.send_all(json.dumps(order).encode() + b"\n")
        return process
