"""What is in the memory of a machine that has nearly none left, kept for its user."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from ..._cache_folder import cache_folder
from ..._full_names import short_name
from ..._values import Termination
from ...errors import StopReason
from ...logs._kept import KeptLog
from ...rpc import Connection
from ._client import supervisor

if TYPE_CHECKING:
    from ...profiling import Profile

logger = logging.getLogger("bigmachine.machine")

PERIOD_SECONDS = 60.0
"""A machine that stays short of memory is not looked at more often."""
_ANSWER_SECONDS = 60.0
_AT_ONCE = 4  # of all machines: they may be short of the same memory, that of one host
_KEPT_REPORTS = 50  # of all sessions of the user; older ones are deleted

_limiters: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("memory reports")


class _Report(NamedTuple):
    heap: Profile | None
    variables: dict[str, Any]
    output: str


class MemoryReports:
    """Asks one machine, whose full name is ``name``, for its heap and metrics, and keeps them.

    ``log`` has its output, ``connection`` returns the one that there is now, and ``ask_now`` asks
    it how it is.
    """

    def __init__(
        self,
        name: str,
        *,
        log: KeptLog,
        connection: Callable[[], Connection | None],
        ask_now: Callable[[], object],
    ) -> None:
        self._name = name
        self._short_name = short_name(name)
        self._connection = connection
        self._log = log
        self._ask_now = ask_now
        self._asked_at = -PERIOD_SECONDS
        self._last: Path | None = None

    async def await_shortage(self, connection: Connection) -> None:
        """Wait until the machine has used nearly all of its memory; then ask how it is."""
        if connection.connects_per_call:  # that would occupy a connection; keepalives must do
            await trio.sleep_forever()
        await supervisor(connection).await_shortage()
        self._ask_now()

    async def take(self) -> None:
        """Take a report and keep it, unless there was one within the last minute."""
        now = trio.current_time()
        connection = self._connection()
        if now < self._asked_at + PERIOD_SECONDS or connection is None:
            return
        self._asked_at = now
        try:
            async with _limiter():
                heap, variables = await supervisor(connection).memory_report()
            output = "\n".join(line.full_text for line in self._log.lines())
            heap = None if heap is None else heap.labelled(machine=self._short_name)
            report = _Report(heap, variables, output)
            self._last = await trio.to_thread.run_sync(_keep, self._name, report)
        except Exception as exc:
            reason = str(exc).partition("\n")[0] or type(exc).__name__
            logger.warning("%s: its memory could not be looked at: %s", self._short_name, reason)
        else:
            logger.warning("%s: what is in its memory: %s", self._short_name, self._last)

    def explain(self, gone: Termination) -> Termination:
        """Say where the last report is, if the machine is gone for lack of memory."""
        if gone.reason is not StopReason.OOM or self._last is None:
            return gone
        detail = f"{gone.detail}; what was in its memory before: {self._last}"
        return Termination(gone.reason, detail)


@contextlib.asynccontextmanager
async def _limiter() -> AsyncIterator[None]:
    """Let in a few at once; `trio.TooSlowError` if the block takes too long."""
    try:
        limiter = _limiters.get()
    except LookupError:
        _limiters.set(limiter := trio.CapacityLimiter(_AT_ONCE))
    async with limiter:
        with trio.fail_after(_ANSWER_SECONDS):
            yield


def _keep(name: str, report: _Report) -> Path:
    """Write a report to a folder of its own; return that."""
    now = datetime.datetime.now()
    folder = _reports_folder() / re.sub(r"[^\w.-]", "_", f"{now:%Y%m%d-%H%M%S}-{name}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if report.heap is not None:
        report.heap.save(folder / "heap.pb.gz")
    heap = report.heap or "There was too little memory left to find out what is in it."
    (folder / "heap.txt").write_text(f"{heap}\n", encoding="utf-8")
    (folder / "variables.json").write_text(json.dumps(report.variables, indent=1))
    (folder / "output.txt").write_text(report.output + "\n", encoding="utf-8")
    for old in sorted(folder.parent.glob("*-*-*"))[:-_KEPT_REPORTS]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _reports_folder() -> Path:
    """Return the folder of all reports: in the user's cache, or else a temporary one."""
    try:
        folder = cache_folder() / "memory"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK):
            raise OSError("it can't be written")
    except OSError:
        return Path(tempfile.mkdtemp(prefix="bigmachine-memory-"))
    return folder
