"""What runs for a call of a parallel method: its process, and the thread that waits for that."""

from __future__ import annotations

from .._processes import ProcessCall
from ..pools._thread_job import ThreadJob


class ProcessWork:
    """Runs for a call while its ``job`` waits for a place, and then for the ``process_call``."""

    __slots__ = ("_job", "_process_call")

    def __init__(self, process_call: ProcessCall, job: ThreadJob) -> None:
        self._process_call = process_call
        self._job = job

    @property
    def has_ended(self) -> bool:
        """Whether the process runs it no longer, and never will."""
        return self._process_call.has_ended

    @property
    def is_uncancellable(self) -> bool:
        """Always False: its process is killed."""
        return False

    def cancel(self) -> None:
        """Kill the process, or never begin; a thread that waits for a place no longer does."""
        self._process_call.cancel()
        if not self._job.is_uncancellable:
            self._job.cancel()
