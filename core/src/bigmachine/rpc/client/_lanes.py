"""Lanes: connections that carry one call at a time, whose caller reads the reply itself.

At the machine, the thread that runs a ``def`` method reads its call (`server/lanes/_thread_lane`);
``async def`` methods have lanes to the loop (`server/lanes/_loop_lane`), where their calls come
from threads. A task calls them over the connection, which takes no longer, and less with several
calls in flight. All lanes belong to a multiplexed connection, and end with it.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any
from weakref import WeakSet, WeakValueDictionary

import trio
from outcome import Outcome

from ...services._waiting import thread_state, waiting
from ..transport._tls import TlsChannel
from ._lane import AnyLane, Lane, LaneKind, TaskLane, ThreadLane, is_large
from ._pickled_call import PickledCall

logger = logging.getLogger("bigmachine.rpc")

MAX_LANES = 8
"""The most lanes of one connection. When all carry calls, further calls go over the connection."""

MAX_TASK_LANES = 4
"""The most of them for calls of tasks: with more in flight, the connection takes less for each."""

MAX_LANES_OF_PROCESS = 128
"""The most lanes of a process: each takes a descriptor here (two, where memory is shared), and
perhaps a thread on its machine."""

IDLE_SECONDS = 10.0
"""After how long without a call a lane is closed."""

# A machine that gets its third call only after this has no use for a lane.
_WANTED_SECONDS = 1.0

# After a task's call has found no free lane, such calls go over the connection for so long: many
# of them share reads and writes there, and lanes would only take a few out.
_CROWDED_SECONDS = 0.02

# After an attempt to make a lane has failed, until the next one: twice as long each time.
_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0

# A lane that has carried a call within this is not checked before the next one: that takes 2 µs.
_CHECKED_SECONDS = 0.1

DialLane = Callable[[int, bool], Awaitable[TlsChannel]]
"""Makes the connection of the lane with this number, perhaps one to the machine's loop; raises
what `dial` does."""


def open_files_of_lanes(machines: int) -> int:
    """Return how many files the lanes to so many machines may have open, at the most."""
    return 2 * min(MAX_LANES * machines, MAX_LANES_OF_PROCESS)


class Lanes:
    """The lanes of one connection to ``machine``: made when calls want some, closed when idle.

    To be made in the trio loop. Any thread may call `outcome`, also in a signal handler: what it
    uses needs no lock. ``give_up`` tells the machine that nobody waits for a lane's call.
    """

    def __init__(
        self,
        dial: DialLane,
        *,
        give_up: Callable[[int], None],
        addr: str,
        machine: str,
        limit_bytes: int,
    ) -> None:
        self.addr = addr
        self.machine = machine
        self.limit_bytes = limit_bytes
        self.idle_seconds = IDLE_SECONDS
        self._dial = dial
        self._give_up = give_up
        self._token = trio.lowlevel.current_trio_token()
        self._of_threads = LaneKind(ThreadLane)
        self._of_threads_to_loop = LaneKind(ThreadLane, is_to_loop=True)
        self._of_tasks = LaneKind(TaskLane, limit=MAX_TASK_LANES)
        self._kinds = self._of_threads, self._of_threads_to_loop, self._of_tasks
        # Weak: a caller may be interrupted between two steps, and then nobody has its lane.
        self._all: WeakValueDictionary[int, Lane] = WeakValueDictionary()
        self._in_loop: set[str] = set()  # methods that run there
        self._last_number = 0
        self._crowded_until = 0.0
        self._retry_at = 0.0
        self._retry_seconds = _RETRY_SECONDS
        self._wanted = trio.Event()
        self._has_ended = False

    @property
    def is_in_use(self) -> bool:
        """Whether any carries a call."""
        return len(self._all) > self._free_count

    def outcome(
        self, call: PickledCall, time_left: Callable[[], float] | None = None
    ) -> Outcome[Any] | None:
        """Make a call, in the caller's thread; None if it is one for the connection instead.

        Otherwise as `Connection.outcome`. What interrupts the thread cancels the method, and so
        does the `CallTimeout` of ``time_left``; see `LaneChannel`.
        """
        if call.payload.size > self.limit_bytes:
            return None  # the connection says what is wrong
        is_to_loop = call.method in self._in_loop
        lane = self._take(self._of_threads_to_loop if is_to_loop else self._of_threads, call)
        if lane is None:
            return None
        # A `waiting` block would do nothing, and takes longer. It is known by now that this process
        # waits for others: a lane is made after calls that went over the connection.
        if thread_state.runs is None:
            return lane.outcome(call, time_left)
        with waiting():
            return lane.outcome(call, time_left)

    def for_task(self, call: PickledCall) -> TaskLane | None:
        """Return a lane for this call of a trio task; None if it is one for the connection.

        The task awaits the `TaskLane.outcome`, at once, which may be None, too. To be called in
        the loop.
        """
        if call.method in self._in_loop or perf_counter() < self._crowded_until or is_large(call):
            return None
        lane = self._take(self._of_tasks, call)
        if lane is None:
            self._crowded_until = perf_counter() + _CROWDED_SECONDS
        return lane

    async def run(self) -> None:
        """Make lanes that are wanted, and close those that are idle, until cancelled."""
        try:
            while True:
                with trio.move_on_after(self.idle_seconds / 2 if self._all else math.inf):
                    await self._wanted.wait()
                if self._wanted.is_set():
                    for kind in self._kinds:
                        if kind.is_wanted:
                            await self._add(kind)
                            kind.is_wanted = False
                    self._wanted = trio.Event()
                self._close_idle()
        finally:
            self.end()

    def end(self) -> None:
        """End all lanes, and with them their calls."""
        self._has_ended = True
        for lane in self._living():
            lane.abort()
        for kind in self._kinds:
            self._close_free(kind)

    def put_back(self, lane: Lane) -> None:
        """Let others use a lane whose call has ended."""
        lane.used_at = perf_counter()
        lane.kind.free.append(lane)
        if self._has_ended:
            self._close_free(lane.kind)

    def give_up(self, lane: Lane) -> None:
        """Cancel the call of a lane, and close that."""
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._give_up, lane.number)
        self.close(lane)

    def close(self, lane: Lane) -> None:
        """Close a lane, in the thread that has taken it."""
        self._all.pop(lane.number, None)
        _lanes_of_process.discard(lane)
        lane.close()

    def runs_in_loop(self, method: str) -> None:
        """Remember that a method runs in the machine's loop."""
        self._in_loop.add(method)

    def _take(self, kind: LaneKind[AnyLane], call: PickledCall) -> AnyLane | None:
        if call.uploads is not None:
            return None
        while True:
            try:
                lane = kind.free.pop()
            except IndexError:
                self._miss(kind)
                return None
            # A router on the way may have dropped it meanwhile.
            if perf_counter() - lane.used_at < _CHECKED_SECONDS or not lane.has_ended:
                return lane
            self.close(lane)

    def _miss(self, kind: LaneKind[Any]) -> None:
        """Ask for another lane, if calls follow each other closely."""
        now, (earlier, latest) = perf_counter(), kind.missed
        is_wanted = now - earlier < _WANTED_SECONDS and now > self._retry_at
        kind.missed = latest, now
        if is_wanted and not (self._wanted.is_set() or self._has_ended) and self._has_room(kind):
            kind.is_wanted = True
            # It says itself whether a lane is made: Ctrl-C may come between any two steps here.
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._wanted.set, idempotent=True)

    def _has_room(self, kind: LaneKind[Any]) -> bool:
        """Whether there may be another lane of a kind that has none free."""
        return (
            len(self._all) - self._free_count < MAX_LANES
            and len(_lanes_of_process) < MAX_LANES_OF_PROCESS
            and sum(lane.kind is kind for lane in self._living()) < kind.limit
        )

    def _living(self) -> list[Lane]:
        refs = self._all.valuerefs()  # all at once: threads close lanes at any moment
        return [lane for ref in refs if (lane := ref()) is not None]

    @property
    def _free_count(self) -> int:
        return sum(len(kind.free) for kind in self._kinds)

    async def _add(self, kind: LaneKind[Any]) -> None:
        for other in self._kinds:
            with contextlib.suppress(IndexError):  # none is free, or any more
                while len(self._all) >= MAX_LANES:
                    self.close(other.free.popleft())
        self._last_number += 1
        try:
            channel = await self._dial(self._last_number, kind.is_to_loop)
        except Exception as exc:  # whatever client it is: calls need no lanes
            logger.debug("%s: a lane can't be made: %r", self.machine, exc)
            self._retry_at = perf_counter() + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, _LONGEST_RETRY_SECONDS)
            return
        self._retry_seconds = _RETRY_SECONDS
        lane = kind.new_lane(channel, number=self._last_number, owner=self, kind=kind)
        self._all[lane.number] = lane
        _lanes_of_process.add(lane)
        self.put_back(lane)

    def _close_idle(self) -> None:
        limit = perf_counter() - self.idle_seconds
        for kind in self._kinds:
            with contextlib.suppress(IndexError):  # threads take some at any moment
                while kind.free[0].used_at <= limit:
                    self.close(kind.free.popleft())

    def _close_free(self, kind: LaneKind[Any]) -> None:
        while True:
            try:
                self.close(kind.free.pop())
            except IndexError:
                return


_lanes_of_process: WeakSet[Lane] = WeakSet()
