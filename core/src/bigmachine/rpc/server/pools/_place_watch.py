"""Names methods that may be in a deadlock: they hold their places, and wait, and so do others."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from ....services._waiting import has_waited
from ._thread_job import ThreadJob

logger = logging.getLogger("bigmachine.rpc")

IDLE_SECONDS = 10.0
"""How long a method may do nothing, while calls wait for its place, before it is named."""

_IDLE_CPU_SECONDS = 0.01  # to wake up now and then, and look


class PlaceWatch:
    """Looks at the threads that run ``jobs``; only on Linux.

    A method may wait in a way that does not give up its place: for a thread of its own, or for
    another program. If that thread calls another machine, which calls this one, that call may
    wait for this very place.
    """

    def __init__(self, jobs: Collection[ThreadJob], *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._jobs = jobs
        self._idle_seconds = idle_seconds
        self._named: set[str] = set()
        self._seen: dict[ThreadJob, tuple[float, float]] = {}  # since when, and its CPU time then

    def check(self, *, is_any_waiting: bool) -> None:
        """Look once; to be called every few seconds, in any thread."""
        before, self._seen = self._seen, {}
        if not is_any_waiting or not has_waited():
            return
        now = time.monotonic()
        for job in tuple(self._jobs):
            cpu = _cpu_seconds(job.native_id)
            if cpu is None or not job.is_watched or job.name in self._named:
                continue
            since, cpu_before = before.get(job, (now, cpu))
            if cpu - cpu_before > _IDLE_CPU_SECONDS:
                since, cpu_before = now, cpu
            self._seen[job] = since, cpu_before
            if now - since >= self._idle_seconds:
                self._named.add(job.name)
                logger.warning(
                    "%s has not computed for %.0f s, and other calls wait for its place among "
                    "maxprocs, perhaps those that it waits for itself; mark it with bm.concurrent, "
                    "or call other machines in the thread that runs it",
                    job.name,
                    now - since,
                )


def _cpu_seconds(native_id: int) -> float | None:
    """Return how long a thread of this process has computed; None if that is not known."""
    try:
        with open(f"/proc/self/task/{native_id}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return None
