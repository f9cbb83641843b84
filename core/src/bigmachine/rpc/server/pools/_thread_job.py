"""One function that a thread of the pool runs: when it has a place, and when it gives it up."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Protocol

from ....services._waiting import thread_state
from ..._exceptions import CallError
from .._gate import Gate


class ThreadJob:
    """One function that a thread runs, with a place that it gives up when it can.

    Between `pause` and `resume` it has neither its place nor its exclusive gate. If it is
    cancelled while it runs, the next job gets its place at once, and its exclusive gate when
    it has ended.
    """

    __slots__ = (
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
        "abandoned_at",
        "exclusive",
        "has_ended",
        "has_returned",
        "is_known_to_block",
        "is_watched",
        "name",
        "native_id",
        "refused",
    )

    def __init__(
        self,
        run: Callable[[], Callable[[], None]],
        *,
        pool: JobPool,
        name: str,
        places: Gate,
        exclusive: Gate | None,
        is_watched: bool,
        refused: Callable[[CallError], object] | None = None,
    ) -> None:
        self.name = name
        self.refused = refused  # while it has not begun
        self.has_ended = self.has_returned = False
        self.abandoned_at = math.inf  # in monotonic time
        self._run = run
        self._pool = pool
        self._places = places
        self.exclusive = exclusive
        self.is_known_to_block = False
        self.is_watched = is_watched
        self.native_id = 0  # of the thread that runs it
        self._lock = threading.Lock()
        self._has_begun = self._is_paused = self._is_cancelled = False
        self._has_place = self._is_detached = False

    @property
    def is_uncancellable(self) -> bool:
        """Whether it has begun; Python can't stop a thread."""
        return self._has_begun

    @property
    def is_computing(self) -> bool:
        """Whether it runs in its place among maxprocs, and so does not wait for other calls."""
        return self._has_place and self._places is self._pool.places

    def start(self) -> None:
        """Go through the gates, and run."""
        if self.exclusive is None or self.exclusive.enter(self._enter_places):
            self._enter_places()
        else:
            self._pool.warn_of_exclusive(self.exclusive)

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
            self._drop()
        elif self.exclusive is not None and self.exclusive.give_up(self._enter_places):
            self._drop()
        if not has_begun:  # a thread that is about to run it sees that it is cancelled
            self.has_ended = True
            self._run = _run_nothing  # it refers to the arguments, and to what refers to this job
            self.refused = None
        return not has_begun

    def pause(self) -> None:
        """Let others run; called in its thread, before it waits for a call of its own."""
        with self._lock:
            leaves = self._has_place and self._pool.detach(self)
            self._is_paused = leaves or self._is_detached
            if leaves:
                self._has_place, self._is_detached = False, True
        if leaves:
            self._pool.running.discard(self)
            self._places.leave()
        if self._is_paused:
            self._leave_exclusive()
            self._pool.refuse_stranded()

    def resume(self) -> None:
        """Wait until it may run again."""
        if not self._is_paused:
            return
        if self.exclusive is not None:
            turn = _taken_lock()
            if not self.exclusive.enter(turn.release, returns=True):
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
            self._pool.running.add(self)

    def run_here(self) -> Callable[[], None]:
        """Run in this thread; return what is to be called in the loop."""
        follow_up = do_nothing
        with self._lock:
            self._has_begun = not self._is_cancelled
        if self._has_begun:
            self.native_id = self.native_id or threading.get_native_id()
            self._pool.running.add(self)
            thread_state.runs = self
            follow_up = self._run()
            self.has_returned = True
            thread_state.runs = None
            self._pool.running.discard(self)
        del self._run, self.refused  # and with them the arguments
        return follow_up

    def end(self) -> None:
        """Let the next ones have what this one holds; called in its thread, at the end."""
        with self._lock:
            has_place, self._has_place = self._has_place, False
            self.has_ended = True  # before `attach`: a cancellation may just be under way
        if has_place:
            self._places.leave()
        if self._is_detached:
            self._pool.attach(self)
        if self.exclusive is not None:
            self.exclusive.leave()

    def _enter_places(self) -> None:
        if self._places.enter(self._begin):
            self._begin()

    def _begin(self) -> None:
        self._has_place = True
        self._pool.take(self)

    def _drop(self) -> None:
        """Take note that it waited at a gate, and will never run."""

    def _return(self) -> None:
        with self._lock:
            self._has_place = True
        self._wake.release()

    def _leave_exclusive(self) -> None:
        if self.exclusive is not None:
            self.exclusive.leave()


class JobPool(Protocol):
    """What a job needs of the pool that runs it; see `ThreadPool`."""

    running: set[ThreadJob]
    places: Gate

    def take(self, job: ThreadJob) -> None: ...

    def detach(self, job: ThreadJob) -> bool: ...

    def attach(self, job: ThreadJob) -> None: ...

    def abandon(self, job: ThreadJob) -> None: ...

    def warn_of_exclusive(self, gate: Gate) -> None: ...

    def refuse_stranded(self) -> bool: ...


def _taken_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _run_nothing() -> Callable[[], None]:
    return do_nothing


def do_nothing() -> None:
    """Stand in for a callback that has nothing to do."""
