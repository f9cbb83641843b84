"""What a server runs its methods with: its tasks and threads, and the account of its calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..._exceptions import CallError
from ...loop._tasks import TaskPool
from .._registry import Method
from ._call_ledger import CallLedger
from ._call_span import Trace
from ._thread_job import ThreadJob
from ._threads import ThreadPool


@dataclass(frozen=True, slots=True)
class Pools:
    """The tasks and threads of a server, which run its methods; with them go its ``ledger``.

    ``trace`` traces the calls that have headers, if anybody wants to know of them.
    """

    tasks: TaskPool
    threads: ThreadPool
    trace: Trace | None = None
    ledger: CallLedger = field(default_factory=CallLedger)

    def start_in_thread(
        self,
        run: Callable[[], Callable[[], None]],
        method: Method,
        *,
        refused: Callable[[CallError], object],
        at_once: bool = False,
    ) -> ThreadJob:
        """Call ``run`` in a thread, as ``method`` is to run; see `ThreadPool.start`.

        ``at_once`` is for what is short: it needs no place.
        """
        return self.threads.start(
            run,
            name=method.name,
            is_concurrent=method.is_concurrent or at_once,
            exclusive=method.exclusive,
            is_watched=method.processes is None,
            refused=refused,
        )

    def is_thread_wanted(self, method: Method) -> bool:
        """Whether another call waits for what ``method`` holds while it runs in a thread."""
        return self.threads.has_queue(is_concurrent=method.is_concurrent) or (
            method.exclusive is not None and method.exclusive.has_queue
        )
