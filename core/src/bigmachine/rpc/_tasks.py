"""Where service methods run: trio tasks that are used again, and threads of our own."""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

# Idle tasks kept for the next calls; a burst beyond it pays for new ones.
_MAX_IDLE_TASKS = 256


class TaskPool:
    """Runs coroutines in trio tasks that outlive them.

    A new task with a cancel scope costs three times what a small call does
    otherwise, so tasks wait for their next job inside a scope that serves until
    it is cancelled. Each job runs in a fresh copy of the pool's context.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._idle: list[_Slot] = []
        self._context = contextvars.copy_context()

    def start(self, function: Callable[[], Awaitable[None]]) -> Job:
        """Run ``function``, which must not raise."""
        job = Job(function)
        if self._idle:
            slot = self._idle.pop()
            slot.job, job.slot = job, slot
            task, slot.task = slot.task, None
            assert task is not None
            task.context = self._context.copy()
            reschedule(task)
        else:
            job.slot = slot = _Slot(job)
            self._nursery.start_soon(self._work, slot, name="bigmachine call")
        return job

    async def _work(self, slot: _Slot) -> None:
        while True:
            with slot.scope:
                while not slot.scope.cancel_called:
                    if slot.job is not None:
                        try:
                            await slot.job.function()
                        finally:
                            slot.job = None
                        if slot.scope.cancel_called:
                            break
                        if len(self._idle) == _MAX_IDLE_TASKS:
                            return
                    slot.task = current_task()
                    self._idle.append(slot)
                    try:
                        await wait_task_rescheduled(_abort)
                    except trio.Cancelled:  # the pool ends
                        self._idle.remove(slot)
                        raise
            # Cancelled with its job, not with the pool: a new scope, and on.
            slot.job = None
            slot.scope = trio.CancelScope()


class Job:
    """One function that a pool runs."""

    __slots__ = ("function", "slot")

    def __init__(self, function: Callable[[], Awaitable[None]]) -> None:
        self.function = function
        self.slot: _Slot | None = None

    def cancel(self) -> None:
        """Cancel it, if it still runs: its task may be another job's by now."""
        if self.slot is not None and self.slot.job is self:
            self.slot.scope.cancel()


class _Slot:
    """A task of the pool: parked as ``task`` when it has no ``job``."""

    __slots__ = ("job", "scope", "task")

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job
        self.task: Task | None = None
        self.scope = trio.CancelScope()


def _abort(_raise_cancel: object) -> Abort:
    return Abort.SUCCEEDED


class ThreadPool:
    """Runs functions in at most ``limit`` threads, and their aftermath in the trio loop.

    trio's own threads cost 150 µs a call; handing over through two queues, with
    one wake-up of the loop for all that is done by then, costs a fifth.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: queue.SimpleQueue[ThreadJob | None] = queue.SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._pending = 0

    def start(self, run: Callable[[], Callable[[], None]]) -> ThreadJob:
        """Call ``run`` in a thread, then what it returns in the trio loop.

        Neither may raise. The job returned can be cancelled until a thread takes it.
        """
        job = ThreadJob(run)
        self._pending += 1
        if self._pending > self._threads < self._limit:
            self._threads += 1
            # A daemon: a method that never ends must not keep the machine's process alive.
            threading.Thread(
                target=self._work, name=f"bigmachine-{self._threads}", daemon=True
            ).start()
        self._jobs.put(job)
        return job

    @property
    def is_wanted(self) -> bool:
        """Whether a job waits for a thread."""
        return self._pending > self._threads

    def post(self, function: Callable[[], None]) -> None:
        """Call ``function`` in the trio loop; from any thread."""
        self._done.append(function)
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._drain, idempotent=True)

    def run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Run an async function in the trio loop and wait for it; from a pool's thread."""
        return trio.from_thread.run(function, *args, trio_token=self._token)

    def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            # In a context of its own: what a method sets is not for the thread's next one.
            aftermath = contextvars.copy_context().run(job.run) if job.begin() else _nothing
            self.post(lambda aftermath=aftermath: self._finish(aftermath))  # type: ignore[misc]
            del job, aftermath

    def _finish(self, aftermath: Callable[[], None]) -> None:
        self._pending -= 1
        aftermath()

    def _drain(self) -> None:
        while self._done:
            self._done.popleft()()


class ThreadJob:
    """One function on its way through the pool."""

    __slots__ = ("_taken", "run")

    def __init__(self, run: Callable[[], Callable[[], None]]) -> None:
        self.run = run
        self._taken = threading.Lock()

    def begin(self) -> bool:
        """Take the job; False if it was taken, or cancelled, before."""
        return self._taken.acquire(blocking=False)

    cancel = begin


def _nothing() -> None:
    pass
