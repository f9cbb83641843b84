"""Lanes: connections over which a thread makes a call by itself, past the trio loop.

See `server/_lane`. They belong to a multiplexed connection, and end with it.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any
from weakref import WeakSet, WeakValueDictionary

import trio
from outcome import Error, Outcome, Value

from ...errors import ProtocolError, UsageError
from ...services._waiting import thread_state, waiting
from .._exceptions import load_exception
from .._frames import LAST_STREAM, Frame, Kind
from .._lane_channel import LaneChannel, is_of_connection
from .._marshal import load_result
from ._lost import LaneLost
from ._pickled_call import PickledCall, encoded_name

logger = logging.getLogger("bigmachine.rpc")

MAX_LANES = 8
"""The most lanes of one connection. When all carry calls, further calls go over the connection."""

MAX_LANES_OF_PROCESS = 128
"""The most lanes of a process: each takes a descriptor here (two, where memory is shared), and a
thread on its machine."""

IDLE_SECONDS = 10.0
"""After how long without a call a lane is closed."""

# A machine that gets its next call only after this has no use for a lane.
_WANTED_SECONDS = 1.0

# After an attempt to make a lane has failed, until the next one: twice as long each time.
_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0

# A lane that has carried a call within this is not checked before the next one: that takes 2 µs.
_CHECKED_SECONDS = 0.1

DialLane = Callable[[int], Awaitable[LaneChannel]]
"""Makes the connection of the lane with this number; raises what `dial` does."""


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
        self._free: deque[Lane] = deque()  # the one that was used last is at the right
        # Weak: a caller may be interrupted between two steps, and then nobody has its lane.
        self._all: WeakValueDictionary[int, Lane] = WeakValueDictionary()
        self._elsewhere: set[str] = set()  # methods that are not called over lanes
        self._last_number = 0
        self._missed_at = self._retry_at = 0.0
        self._retry_seconds = _RETRY_SECONDS
        self._wanted = trio.Event()
        self._has_ended = False

    @property
    def is_in_use(self) -> bool:
        """Whether any carries a call."""
        return len(self._all) > len(self._free)

    def outcome(
        self, call: PickledCall, time_left: Callable[[], float] | None = None
    ) -> Outcome[Any] | None:
        """Make a call, in the caller's thread; None if it is one for the connection instead.

        Otherwise as `Connection.outcome`. What interrupts the thread cancels the method, and so
        does the `CallTimeout` of ``time_left``; see `LaneChannel`.
        """
        if (
            call.uploads is not None
            or call.method in self._elsewhere
            or call.payload.size > self.limit_bytes  # the connection says what is wrong
        ):
            return None
        if (lane := self._take()) is None:
            self._miss()
            return None
        lane.channel.time_left = time_left
        # A `waiting` block would do nothing, and takes longer. It is known by now that this process
        # waits for others: a lane is made after a call that went over the connection.
        if thread_state.runs is None:
            return lane.outcome(call)
        with waiting():
            return lane.outcome(call)

    async def run(self) -> None:
        """Make lanes that are wanted, and close those that are idle, until cancelled."""
        try:
            while True:
                with trio.move_on_after(self.idle_seconds / 2 if self._all else math.inf):
                    await self._wanted.wait()
                if self._wanted.is_set():
                    await self._add()
                    self._wanted = trio.Event()
                self._close_idle()
        finally:
            self.end()

    def end(self) -> None:
        """End all lanes, and with them their calls."""
        self._has_ended = True
        for ref in self._all.valuerefs():  # all at once: threads close lanes at any moment
            if (lane := ref()) is not None:
                lane.channel.abort()
        self._close_free()

    def put_back(self, lane: Lane) -> None:
        """Let others use a lane whose call has ended."""
        lane.used_at = perf_counter()
        self._free.append(lane)
        if self._has_ended:
            self._close_free()

    def give_up(self, lane: Lane) -> None:
        """Cancel the call of a lane, and close that."""
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._give_up, lane.number)
        self.close(lane)

    def close(self, lane: Lane) -> None:
        """Close a lane, in the thread that has taken it."""
        self._all.pop(lane.number, None)
        _lanes_of_process.discard(lane)
        lane.channel.close()

    def exclude(self, method: str) -> None:
        """Remember that a method is not called over lanes."""
        self._elsewhere.add(method)

    def _take(self) -> Lane | None:
        while True:
            try:
                lane = self._free.pop()
            except IndexError:
                return None
            # A router on the way may have dropped it meanwhile.
            if perf_counter() - lane.used_at < _CHECKED_SECONDS or not lane.channel.has_ended:
                return lane
            self.close(lane)

    def _miss(self) -> None:
        """Ask for another lane, if calls follow each other closely."""
        now = perf_counter()
        is_wanted = now - self._missed_at < _WANTED_SECONDS and now > self._retry_at
        self._missed_at = now
        if is_wanted and not (self._wanted.is_set() or self._has_ended) and self._has_room:
            # It says itself whether a lane is made: Ctrl-C may come between any two steps here.
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._wanted.set, idempotent=True)

    @property
    def _has_room(self) -> bool:
        return len(self._all) < MAX_LANES and len(_lanes_of_process) < MAX_LANES_OF_PROCESS

    async def _add(self) -> None:
        self._last_number += 1
        try:
            channel = await self._dial(self._last_number)
        except Exception as exc:  # whatever client it is: calls need no lanes
            logger.debug("%s: a lane can't be made: %r", self.machine, exc)
            self._retry_at = perf_counter() + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, _LONGEST_RETRY_SECONDS)
            return
        self._retry_seconds = _RETRY_SECONDS
        lane = Lane(channel, number=self._last_number, lanes=self)
        self._all[lane.number] = lane
        _lanes_of_process.add(lane)
        self.put_back(lane)

    def _close_idle(self) -> None:
        limit = perf_counter() - self.idle_seconds
        for _ in range(len(self._free)):
            try:
                lane = self._free.popleft()
            except IndexError:
                return
            if lane.used_at > limit:
                self._free.appendleft(lane)
                return
            self.close(lane)

    def _close_free(self) -> None:
        while True:
            try:
                self.close(self._free.pop())
            except IndexError:
                return


class Lane:
    """One lane. Who has taken it may call `outcome` once, which puts it back or closes it."""

    def __init__(self, channel: LaneChannel, *, number: int, lanes: Lanes) -> None:
        self.channel = channel
        self.number = number
        self.used_at = 0.0
        self._lanes = lanes
        self._stream = 0

    def outcome(self, call: PickledCall) -> Outcome[Any] | None:
        """See `Lanes.outcome`."""
        method, channel = call.method, self.channel
        self._stream = stream = self._stream % LAST_STREAM + 1
        error: Exception | None = None
        frame: Frame | None = None
        try:
            channel.send_message(
                Kind.CALL, stream, call.payload, name=encoded_name(method), headers=call.headers
            )
            frame = channel.receive()
        except BaseException as exc:
            if not is_of_connection(exc):  # Ctrl-C, for instance, or a time limit
                self._lanes.give_up(self)
                raise
            logger.debug("%s: a lane broke: %r", self._lanes.machine, exc)
            if isinstance(exc, ProtocolError):
                error = exc
        if frame is None or frame.stream != stream or frame.kind not in _REPLIES:
            # The machine does not look for the end of a lane while its method runs.
            self._lanes.give_up(self)
            return Error(self._lost(method, error, frame))
        self._lanes.put_back(self)
        kind = frame.kind
        if kind == Kind.REPLY:
            try:
                return Value(load_result(method, frame))
            except UsageError as exc:
                return Error(exc)
        if kind == Kind.ERROR:
            lanes = self._lanes
            return Error(
                load_exception(frame, addr=lanes.addr, method=method, machine=lanes.machine)
            )
        if kind == Kind.STREAM:
            return Error(UsageError(f"{method} is a generator; call it with stream()"))
        self._lanes.exclude(method)
        return None

    def _lost(self, method: str, error: Exception | None, frame: Frame | None) -> LaneLost:
        addr, machine = self._lanes.addr, self._lanes.machine
        if error is None and frame is not None:
            error = ProtocolError(f"a frame of kind {frame.kind} instead of a reply", addr=addr)
        why = error or f"a connection to {machine} ended; the call may or may not have run"
        return LaneLost(f"{method}: {why}", addr=addr, method=method)


_lanes_of_process: WeakSet[Lane] = WeakSet()

_REPLIES = frozenset({Kind.REPLY, Kind.ERROR, Kind.STREAM, Kind.ELSEWHERE})
