"""The threads that run `def` methods."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import queue
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from ...services._waiting import set_running, waiting
from ._gate import Gate

logger = logging.getLogger("bigmachine.rpc")

MAX_CONCURRENT = 500
"""How many `concurrent` methods run at once on a machine."""

MAX_DETACHED = 500
"""How many threads may hold methods that wait for calls of their own, or were cancelled."""

_KEPT_THREADS = 16  # when idle; more, if there are more processors


class ThreadPool:
    """Runs functions in threads, and what they return in the trio loop.

    At most ``limit`` run at once: each has a place, except those that wait for a call of their
    own, or were cancelled; see `ThreadJob`.

    trio's own threads cost 150 µs per call. Two queues, with one wake-up of the loop for
    all that is done by then, cost a fifth of that.
    """

    def __init__(self, limit: int) -> None:
        self._kept = max(limit, _KEPT_THREADS)
        self._places = Gate(limit)
        self._concurrent = Gate(MAX_CONCURRENT)
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: queue.SimpleQueue[ThreadJob | None] = queue.SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._threads = 0
        self._spare = 0  # idle threads, minus the jobs that wait for a thread
        self._detached = 0
        self._is_full = False
        self._abandoned: set[ThreadJob] = set()
        self._warned: dict[str, int] = {}  # by method, of how many that are abandoned
        self._has_news = False

    def start(
        self,
        run: Callable[[], Callable[[], None]],
        *,
        name: str = "",
        is_concurrent: bool = False,
        exclusive: Gate | None = None,
    ) -> ThreadJob:
        """Call ``run`` in a thread, then what it returns in the trio loop. Neither may raise.

        A concurrent job takes no place. One with an ``exclusive`` gate runs inside it. ``name``
        is the method's, for the log.
        """
        places = self._concurrent if is_concurrent else self._places
        job = ThreadJob(run, pool=self, name=name, places=places, exclusive=exclusive)
        job.start()
        return job

    def has_queue(self, *, is_concurrent: bool = False) -> bool:
        """Whether any job waits for a place."""
        return (self._concurrent if is_concurrent else self._places).has_queue

    def post(self, function: Callable[[], None]) -> None:
        """Call ``function`` in the trio loop; from any thread."""
        self._done.append(function)
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._drain, idempotent=True)

    def run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Run an async function in the trio loop and wait for it; from a pool's thread."""
        with waiting():
            return trio.from_thread.run(function, *args, trio_token=self._token)

    def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._threads):
            self._jobs.put(None)

    # -- for its jobs, in any thread ------------------------------------------

    def take(self, job: ThreadJob) -> None:
        """Run ``job``, which has its place, in an idle or in a new thread."""
        if self._has_news:
            self._warn_of_abandoned()
        with self._lock:
            needs_thread = self._spare == 0
            if needs_thread:
                self._threads += 1
            else:
                self._spare -= 1
        self._jobs.put(job)
        if needs_thread:
            # A daemon: a method that never ends must not keep the machine's process alive.
            name = f"bigmachine-{self._threads}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

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
            self._abandoned.add(job)
            self._has_news = True

    def _warn_of_abandoned(self) -> None:
        """Say which cancelled methods the next one runs beside, when they are twice as many."""
        with self._lock:
            self._has_news = False
            counts = Counter(job.name for job in self._abandoned)
            news = {name: n for name, n in counts.items() if n >= 2 * self._warned.get(name, 0)}
            self._warned.update(news)
        for name, count in news.items():
            logger.warning(
                "%s still runs after it was cancelled, in %d thread(s), for Python can't stop a "
                "thread; other calls run beside it",
                name,
                count,
            )

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            # In a context of its own: the thread's next method must not see what this one sets.
            follow_up = contextvars.copy_context().run(job.run_here)
            with self._lock:
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

    def _drain(self) -> None:
        while self._done:
            try:
                self._done.popleft()()
            except Exception:  # one call's fault; trio would end the whole process
                logger.exception("a call's outcome could not be handled")


class ThreadJob:
    """One function that a thread runs, with a place that it gives up when it can.

    Between `pause` and `resume` it has neither its place nor its exclusive gate. If it is
    cancelled while it runs, the next job gets its place at once, and its exclusive gate when
    it has ended.
    """

    __slots__ = (
        "_exclusive",
        "_has_begun",
        "_has_place",
        "_is_cancelled",
        "_is_detached",
        "_is_paused",
        "_lock",
        "_places",
        "_pool",
        "_run",
        "_wake",
        "has_ended",
        "name",
    )

    def __init__(
        self,
        run: Callable[[], Callable[[], None]],
        *,
        pool: ThreadPool,
        name: str,
        places: Gate,
        exclusive: Gate | None,
    ) -> None:
        self.name = name
        self.has_ended = False
        self._run = run
        self._pool = pool
        self._places = places
        self._exclusive = exclusive
        self._lock = threading.Lock()
        self._has_begun = self._is_paused = self._is_cancelled = False
        self._has_place = self._is_detached = False

    @property
    def is_uncancellable(self) -> bool:
        """Whether it has begun; Python can't stop a thread."""
        return self._has_begun

    def start(self) -> None:
        """Go through the gates, and run."""
        if self._exclusive is None or self._exclusive.enter(self._enter_places):
            self._enter_places()

    def cancel(self) -> bool:
        """Give up its place; return True if it will never run."""
        with self._lock:
            has_begun, self._is_cancelled = self._has_begun, True
            leaves = self._has_place and (
                not has_begun or self._is_detached or self._pool.detach(self)
            )
            if leaves:
                self._has_place, self._is_detached = False, has_begun
        if leaves:
            self._places.leave()
            if has_begun:
                self._pool.abandon(self)
        elif has_begun:
            if self._places.give_up(self._return):  # it has waited, and goes on without a place
                self._wake.release()
        elif self._places.give_up(self._begin):
            self._leave_exclusive()
        elif self._exclusive is not None:
            self._exclusive.give_up(self._enter_places)
        if not has_begun:  # a thread that is about to run it sees that it is cancelled
            self.has_ended = True
        return not has_begun

    def pause(self) -> None:
        """Let others run; called in its thread, before it waits for a call of its own."""
        with self._lock:
            leaves = self._has_place and self._pool.detach(self)
            self._is_paused = leaves or self._is_detached
            if leaves:
                self._has_place, self._is_detached = False, True
        if leaves:
            self._places.leave()
        if self._is_paused:
            self._leave_exclusive()

    def resume(self) -> None:
        """Wait until it may run again."""
        if not self._is_paused:
            return
        if self._exclusive is not None:
            turn = _taken_lock()
            if not self._exclusive.enter(turn.release, returns=True):
                turn.acquire()
        with self._lock:
            if not self._is_cancelled:
                self._wake = _taken_lock()
                self._has_place = self._places.enter(self._return, returns=True)
            waits = not (self._is_cancelled or self._has_place)
        if waits:
            self._wake.acquire()
        with self._lock:
            self._is_paused = False
            self._is_detached = not self._has_place  # if it was cancelled meanwhile
        if self._is_detached:
            self._pool.abandon(self)
        else:
            self._pool.attach(self)

    def run_here(self) -> Callable[[], None]:
        """Run in this thread; return what is to be called in the loop."""
        follow_up = do_nothing
        with self._lock:
            self._has_begun = not self._is_cancelled
        if self._has_begun:
            set_running(self)
            follow_up = self._run()
            set_running(None)
        del self._run  # and with it the arguments
        return follow_up

    def end(self) -> None:
        """Let the next ones have what this one holds; called in its thread, at the end."""
        with self._lock:
            has_place, self._has_place = self._has_place, False
        if has_place:
            self._places.leave()
        if self._is_detached:
            self._pool.attach(self)
        self._leave_exclusive()
        self.has_ended = True

    def _enter_places(self) -> None:
        if self._places.enter(self._begin):
            self._begin()

    def _begin(self) -> None:
        with self._lock:
            self._has_place = True
        self._pool.take(self)

    def _return(self) -> None:
        with self._lock:
            self._has_place = True
        self._wake.release()

    def _leave_exclusive(self) -> None:
        if self._exclusive is not None:
            self._exclusive.leave()


def _taken_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def do_nothing() -> None:
    """Stand in for a callback that has nothing to do."""
