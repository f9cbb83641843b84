"""What a `def` method returned, if that goes on in the loop."""

from __future__ import annotations

import inspect

from ...loop._tasks import Job


class ResultInLoop:
    """Runs for a call while its ``job`` awaits the ``result``, or sends its items."""

    __slots__ = ("_job", "_result")

    def __init__(self, result: object, job: Job) -> None:
        self._result = result
        self._job = job

    @property
    def has_ended(self) -> bool:
        """Whether the job runs no longer."""
        return self._job.has_ended

    @property
    def is_uncancellable(self) -> bool:
        """Always False."""
        return False

    def cancel(self) -> None:
        """Cancel the job; if it was not its turn yet, it never awaits the result."""
        self._job.cancel()
        result = self._result
        if (
            inspect.iscoroutine(result)
            and inspect.getcoroutinestate(result) == inspect.CORO_CREATED
        ):
            result.close()  # else Python warns, as if the service had forgotten to await it
