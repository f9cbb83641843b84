"""Trio tasks that are used again: a pool for short jobs, such as `async def` methods."""

from __future__ import annotations

import contextvars
import functools
import logging
from collections.abc import Callable, Coroutine, Generator
from types import FrameType
from typing import Any, TypeAlias

import outcome
import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from ...errors import UsageError

logger = logging.getLogger("bigmachine.rpc")

Function: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

# Idle tasks kept for the next calls; a burst beyond it pays for new ones.
_MAX_IDLE_TASKS = 256


class TaskPool:
    """Runs coroutines in trio tasks that outlive them.

    A new task with a cancel scope costs three times as much as a small call without
    them. So tasks wait for their next job inside a scope that is kept until it is
    cancelled. Each job runs in a fresh copy of the pool's context.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._idle: list[_Slot] = []
        self._context = contextvars.copy_context()

    def start(self, function: Function, *, within: Job | None = None) -> Job:
        """Run ``function``, which should not raise.

        If it is given the job that runs now, it begins at once ``within`` that, which spares a
        switch of tasks if it never waits. If it does, the task is its own from then on, and the
        other job ``has_ended``: that must return, without waiting or waking anybody.
        """
        job = Job(function)
        if within is not None and within.slot is not None:
            self._begin(job, within, within.slot)
        elif self._idle:
            slot = self._idle.pop()
            slot.job, job.slot = job, slot
            task, slot.task = slot.task, None
            assert task is not None
            task.context = self._context.copy()
            reschedule(task)
        else:
            job.slot = slot = _Slot(job)
            # In a dump of all tasks, its frames show which job it has now.
            self._nursery.start_soon(self._work, slot, name="bigmachine task")
        return job

    async def run(self, function: Function) -> None:
        """Run ``function`` in a task of its own, and wait; it is cancelled if this is.

        What it leaves open harms that task alone. `UsageError` if it raises a `trio.Cancelled`
        of its own, for instance of a scope that it has left open.
        """
        result: outcome.Outcome[None] = outcome.Value(None)
        has_ended = trio.Event()

        async def work() -> None:
            nonlocal result
            result = await outcome.acapture(function)
            has_ended.set()

        job = self.start(work)
        try:
            await has_ended.wait()
        except trio.Cancelled:
            job.cancel()
            raise
        try:
            result.unwrap()
        except trio.Cancelled as exc:
            raise UsageError(
                "it raised trio.Cancelled, though nothing around it is cancelled: open cancel "
                "scopes and nurseries in `with` and `async with` blocks"
            ) from exc

    def _begin(self, job: Job, host: Job, slot: _Slot) -> None:
        slot.job, job.slot = job, slot
        task = current_task()
        hosts, task.context = task.context, self._context.copy()
        scopes = _open_scopes(task)
        coroutine = job.function()
        try:
            trap = task.context.run(coroutine.send, None)
        except (StopIteration, trio.Cancelled):  # by a scope that it has left open, for instance
            pass
        except Exception:
            logger.exception("a call's outcome could not be handled")
        else:
            job.rest = _Rest(coroutine, trap)
            return
        task.context = hosts
        if _open_scopes(task) == scopes and not slot.is_cancelled:
            slot.job = host  # which goes on

    async def _work(self, slot: _Slot) -> None:
        try:
            await self._run_jobs(slot)
        except RuntimeError as exc:
            # From trio: our scope has ended inside one that a job has left open.
            logger.warning("a call has left a cancel scope or a nursery open: %s", exc)
            _abandon_nurseries()

    async def _run_jobs(self, slot: _Slot) -> None:
        task = current_task()
        while True:
            with slot.scope:
                scopes = _open_scopes(task)
                while not slot.is_cancelled:
                    if slot.job is not None:
                        try:
                            await slot.job.function()
                            if slot.job.rest is not None:  # it is one that began within that
                                await slot.job.rest
                        except Exception:  # one call's fault; the nursery would end them all
                            logger.exception("a call's outcome could not be handled")
                        finally:
                            slot.job = None
                        if _open_scopes(task) != scopes:
                            return  # to the error below
                        if slot.is_cancelled:
                            break
                    if len(self._idle) >= _MAX_IDLE_TASKS:
                        return
                    slot.task = task
                    self._idle.append(slot)
                    await wait_task_rescheduled(functools.partial(self._abandon, slot))
            # Cancelled with its job, not with the pool: continue in a new scope.
            slot.job = None
            slot.scope, slot.is_cancelled = trio.CancelScope(), False

    def _abandon(self, slot: _Slot, _: object) -> Abort:
        """Give up an idle task, as the pool ends: from now on it can't be rescheduled."""
        self._idle.remove(slot)
        return Abort.SUCCEEDED


class Job:
    """One function that a pool runs."""

    __slots__ = ("function", "rest", "slot")

    def __init__(self, function: Function) -> None:
        self.function = function
        self.rest: _Rest | None = None
        self.slot: _Slot | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it runs no longer; its task may run another job by now."""
        return self.slot is None or self.slot.job is not self

    @property
    def is_uncancellable(self) -> bool:
        """Always False."""
        return False

    def cancel(self) -> None:
        """Cancel it if it still runs."""
        if self.slot is not None and self.slot.job is self:
            self.slot.is_cancelled = True
            self.slot.scope.cancel()


class _Slot:
    """One task of the pool; while it has no ``job``, it is parked as ``task``."""

    __slots__ = ("is_cancelled", "job", "scope", "task")

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job
        self.task: Task | None = None
        self.scope = trio.CancelScope()
        self.is_cancelled = False  # to ask the scope itself takes five function calls


class _Rest:
    """What is left of a coroutine that waits for the first time, by yielding ``trap`` to trio.

    To await it is to await the coroutine. Its frames are seen as those of the coroutine.
    """

    __slots__ = ("_coroutine", "_trap", "close", "send", "throw")

    def __init__(self, coroutine: Coroutine[Any, Any, None], trap: object) -> None:
        self._coroutine: Any = coroutine
        self._trap = trap
        self.close, self.send, self.throw = coroutine.close, coroutine.send, coroutine.throw

    def __await__(self) -> Generator[object, Any, None]:
        return self  # type: ignore[return-value]  # it is as much of one as awaiting needs

    def __next__(self) -> object:
        return self._trap

    @property
    def cr_frame(self) -> FrameType:
        return self._coroutine.cr_frame  # type: ignore[no-any-return]

    @property
    def cr_await(self) -> object:
        return self._coroutine.cr_await


def _open_scopes(task: Task) -> object:
    """Return something that changes while the task is in another scope, or None."""
    return getattr(task, "_cancel_status", None)


def _abandon_nurseries() -> None:
    """End the nurseries that a job has left open; otherwise trio would end the pool, too."""
    for nursery in current_task().child_nurseries:
        nursery.cancel_scope.cancel()
    getattr(current_task(), "_child_nurseries", []).clear()
