"""The threads that run `def` methods."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import outcome
import trio

from ....errors import UsageError
from ....services._waiting import waiting
from ..._exceptions import CallError
from ...loop._queue import LoopQueue
from .._gate import Gate
from ._thread_job import ThreadJob

logger = logging.getLogger("bigmachine.rpc")

MAX_CONCURRENT = 500
"""How many `concurrent` methods run at once on a machine."""

MAX_DETACHED = 500
"""How many threads may hold methods that wait for calls of their own, or were cancelled."""

ABANDONED_SECONDS = 0.2
"""How long a method may take to end after it was cancelled before it is named."""

THREAD_ADVICE = (
    "raise the limit of its threads (`ulimit -u`, or `pids.max` of its control group), or run less "
    "at once on its host"
)
"""What to do if the system lets a machine start no thread."""

T = TypeVar("T")

_KEPT_THREADS = 16  # when idle; more, if there are more processors


class ThreadPool:
    """Runs functions in threads, and what they return in the trio loop.

    At most ``limit`` run at once: each has a place, except those that wait for a call of their
    own, or were cancelled; see `ThreadJob`.

    trio's own threads cost 150 µs per call. Two queues cost a fifth of that.
    """

    def __init__(self, limit: int) -> None:
        self._kept = max(limit, _KEPT_THREADS)
        self.places = Gate(limit)
        self.concurrent = Gate(MAX_CONCURRENT)
        """The gate of concurrent methods; others go through `places`."""
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: queue.SimpleQueue[ThreadJob | None] = queue.SimpleQueue()
        self._follow_ups = LoopQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self.running: set[ThreadJob] = set()
        """Those that run in a place, or without one because they were cancelled."""
        self._queued = 0  # jobs that no thread has got yet
        self._held: set[ThreadJob] = set()  # those that a thread has got
        self._spare = 0  # idle threads, minus the jobs that wait for a thread
        self._detached = 0
        self._is_full = False
        self._abandoned: set[ThreadJob] = set()
        self._warned: dict[str, int] = {}  # by method, of how many that are abandoned
        self.has_news = False
        """Whether `warn_of_abandoned` may have something to say."""

    def start(
        self,
        run: Callable[[], Callable[[], None]],
        *,
        name: str = "",
        is_concurrent: bool = False,
        exclusive: Gate | None = None,
        is_watched: bool = True,
        refused: Callable[[CallError], object] | None = None,
    ) -> ThreadJob:
        """Call ``run`` in a thread, then what it returns in the trio loop. Neither may raise.

        A concurrent job takes no place. One with an ``exclusive`` gate runs inside it. ``name``
        is the method's, for the log; one that is not ``is_watched`` may do nothing for long.
        If there is no thread for it, ``refused`` is called in the trio loop instead.
        """
        job = ThreadJob(
            run,
            pool=self,
            name=name,
            places=self.concurrent if is_concurrent else self.places,
            exclusive=exclusive,
            is_watched=is_watched and not is_concurrent,
            refused=refused,
        )
        job.start()
        return job

    async def call(self, function: Callable[[], T], *, name: str) -> T:
        """Call ``function`` in a thread, without a place; it can't be cancelled.

        `CallError` if there is no thread for it.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        task = trio.lowlevel.current_task()

        def run() -> Callable[[], None]:
            result = outcome.capture(function)
            return lambda: trio.lowlevel.reschedule(task, result)

        def refused(error: CallError) -> None:
            trio.lowlevel.reschedule(task, outcome.Error(error))

        self.start(run, name=name, is_concurrent=True, refused=refused)
        value: T = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        return value

    def has_queue(self, *, is_concurrent: bool = False) -> bool:
        """Whether any job waits for a place."""
        return (self.concurrent if is_concurrent else self.places).has_queue

    @property
    def is_busy(self) -> bool:
        """Whether any job runs in a thread of the pool, in its place or without one."""
        return bool(self._held)

    def post(self, function: Callable[[], None]) -> None:
        """Call ``function`` in the trio loop; from any thread."""
        with contextlib.suppress(trio.RunFinishedError):
            self._follow_ups.post(function)

    @property
    def is_ahead(self) -> bool:
        """Whether threads have posted more than the loop gets to; see `LoopQueue`."""
        return self._follow_ups.is_long

    def run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Run an async function in the trio loop and wait for it; from a pool's thread."""
        with waiting():
            return trio.from_thread.run(function, *args, trio_token=self._token)

    def adopt_thread(self) -> None:
        """Let `trio.from_thread` find the loop from this thread, as from one that trio started.

        Trio has no public function for that. Where this fails, methods must pass a token.
        """
        with contextlib.suppress(ImportError, AttributeError):
            from trio._threads import PARENT_TASK_DATA

            PARENT_TASK_DATA.token = self._token
            PARENT_TASK_DATA.abandon_on_cancel = True

    def close(self) -> None:
        """Let threads end when they are idle, also those of jobs that begin later."""
        self._jobs.put(None)

    # -- for its jobs, in any thread ------------------------------------------

    def take(self, job: ThreadJob) -> None:
        """Run ``job``, which has its place, in an idle or in a new thread."""
        self.warn_of_abandoned()
        with self._lock:
            needs_thread = self._spare <= 0
            if needs_thread:
                self._threads += 1
            else:
                self._spare -= 1
            self._queued += 1
        self._jobs.put(job)
        if needs_thread:
            try:
                self._start_thread()
            except RuntimeError as exc:  # a limit of the system
                if not self.refuse_stranded():
                    logger.error("%s waits for the thread of another call: %s", job.name, exc)

    def refuse_stranded(self) -> bool:
        """Refuse the jobs that wait for a thread, if there are such and none will be free.

        That of a method which computes in its place will be. Others may go on for ever: cancelled
        ones do, and those that wait may wait for such a job.
        """
        refused = []
        with self._lock:
            idle = self._spare + self._queued  # which will ask again, each with a job
            if self._spare >= 0 or idle or any(job.is_computing for job in self._held):
                return False
            with contextlib.suppress(queue.Empty):
                while self._spare < 0 and (job := self._jobs.get_nowait()) is not None:
                    refused.append(job)
                    self._queued -= 1
                    self._spare += 1
        for job in refused:
            self.post(functools.partial(_refuse, job))
        return bool(refused)

    def detach(self, job: ThreadJob) -> bool:
        """Let ``job`` keep its thread, without a place; False if too many do so."""
        with self._lock:
            if self._detached < MAX_DETACHED:
                self._detached += 1
                return True
            is_first, self._is_full = not self._is_full, True
        if is_first:
            logger.warning(
                "%s keeps its place: %d methods wait for calls of their own, or still run after "
                "they were cancelled, and there are no more threads for such methods",
                job.name,
                MAX_DETACHED,
            )
        return False

    def attach(self, job: ThreadJob) -> None:
        """Undo `detach`: the job has a place again, or has ended."""
        with self._lock:
            self._detached -= 1
            self._abandoned.discard(job)

    def abandon(self, job: ThreadJob) -> None:
        """Take note that a detached job runs although it was cancelled."""
        with self._lock:
            if job.has_ended:
                return
            job.abandoned_at = time.monotonic()
            self._abandoned.add(job)
            self.has_news = True
        if job.exclusive is not None and job.exclusive.has_queue:
            self.warn_of_exclusive(job.exclusive)
        self.refuse_stranded()

    def warn_of_exclusive(self, gate: Gate) -> None:
        """Say which cancelled method others wait for at ``gate``; once of each call."""
        with self._lock:
            holders = [
                job for job in self._abandoned if job.exclusive is gate and not job.has_returned
            ]
            news = [job.name for job in holders if not job.is_known_to_block]
            for job in holders:
                job.is_known_to_block = True
        for name in news:
            logger.warning(
                "%s still runs after it was cancelled, for Python can't stop a thread; the other "
                "exclusive methods of its service wait for it",
                name,
            )

    def warn_of_abandoned(self) -> None:
        """Say which cancelled methods others run beside, when they are twice as many.

        To be called when a job begins and now and then, for some may end in a moment.
        """
        if not self.has_news:
            return
        before = time.monotonic() - ABANDONED_SECONDS
        with self._lock:
            late = [job for job in self._abandoned if job.abandoned_at <= before]
            self.has_news = len(late) < len(self._abandoned)
            counts = Counter(job.name for job in late if not job.has_returned)
            news = {name: n for name, n in counts.items() if n >= 2 * self._warned.get(name, 0)}
            self._warned.update(news)
        for name, count in news.items():
            logger.warning(
                "%s still runs after it was cancelled, in %d thread(s), for Python can't stop a "
                "thread; other calls run beside it",
                name,
                count,
            )

    def _start_thread(self) -> None:
        """Start a thread that is counted already.

        `RuntimeError` if the system has none: then it counts no more, and a job is stranded.
        """
        # A daemon: a method that never ends must not keep the machine's process alive.
        name = f"bigmachine-{self._threads}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError:
            with self._lock:
                self._threads -= 1
                self._spare -= 1
            raise

    def _work(self) -> None:
        self.adopt_thread()
        while True:
            if (job := self._jobs.get()) is None:  # closed
                self._jobs.put(None)  # for the other threads
                if not self._queued:
                    return
                continue
            with self._lock:
                self._queued -= 1
                self._held.add(job)
            if self._spare < 0:
                self.refuse_stranded()
            # In a context of its own: the thread's next method must not see what this one sets.
            follow_up = contextvars.copy_context().run(job.run_here)
            with self._lock:
                self._held.remove(job)
                self._spare += 1  # before the next job gets the place, and looks for a thread
            self.post(follow_up)
            job.end()
            del job, follow_up
            if self._spare > self._kept:
                with self._lock:
                    if self._spare > self._kept:
                        self._spare -= 1
                        self._threads -= 1
                        return


def _refuse(job: ThreadJob) -> None:
    """End a job that no thread can run; in the trio loop."""
    refused = job.refused
    job.cancel()
    job.end()
    if refused is not None:
        refused(
            CallError(
                UsageError(
                    f"{job.name}: the machine can start no thread for it, and none that it has "
                    f"will be free soon; {THREAD_ADVICE}"
                )
            )
        )
