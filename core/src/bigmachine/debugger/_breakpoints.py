"""A machine's side of the debugger: ``breakpoint()``, and the calls that failed here."""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

import trio

from .._full_names import short_name
from .._repeated_event import RepeatedEvent
from ..errors import UsageError
from ..process import on_breakpoint, warn_once
from ..rpc import _kept_exceptions as kept
from ._protocol import Reply, Stop
from ._stopped import StoppedMethod


class Breakpoints:
    """The methods of a machine that are stopped in pdb; made in its loop.

    `stop` is called at each breakpoint, in the method's thread. What follows it is for the driver,
    and called in the loop.
    """

    def __init__(self, machine: str) -> None:
        self._machine = short_name(machine)
        self._token = trio.lowlevel.current_trio_token()
        self._pid = os.getpid()
        self._loop_thread = threading.get_ident()
        self._numbers = itertools.count(1)
        self._stops: dict[int, tuple[Stop, StoppedMethod]] = {}
        self._new: list[Stop] = []  # which the driver may not know of
        self._changed = RepeatedEvent()
        self._is_off = self._is_ending = False
        self._warned: set[tuple[str, int]] = set()

    def install(self) -> None:
        """Have methods stop at ``breakpoint()``, in this process."""
        on_breakpoint(self.stop)

    def stop(
        self, frame: FrameType, *, header: str | None = None, commands: Iterable[str] | None = None
    ) -> None:
        """Stop in the frame of a method, with the arguments of `pdb.set_trace`."""
        if self._is_off:
            return
        if (reason := self._reason_to_pass_over()) is not None:
            warn_once(frame, reason, self._warned)
            return
        from ._pdb import RemotePdb, active_pdb  # few methods have a breakpoint

        pdb = active_pdb() or RemotePdb(self._machine, self._announce)
        pdb.stop_in(frame, header=header, commands=commands)

    # -- for the driver -------------------------------------------------------

    async def after(self, number: int) -> list[Stop]:
        """Wait until methods have stopped that come after this number; return them."""
        while not (new := [stop for stop in self._new if stop.number > number]):
            await self._changed.wait()
        self._new = new  # the driver has got those before
        for stop in new:
            self._stopped(stop.number).notice()
        return new

    async def attach(self, number: int, sources: Mapping[str, str]) -> Reply:
        """Begin to debug a method; see `StoppedMethod.attach`."""
        if number not in self._stops:  # its last reply was lost on the way
            return Reply("", None)
        return self._end_with(number, await self._stopped(number).attach(sources))

    async def send(self, number: int, line: str) -> Reply:
        """Answer pdb's prompt; return its next reply."""
        return self._end_with(number, await self._stopped(number).send(line))

    async def completions(self, number: int, *request: Any) -> list[str]:
        """Complete a word at pdb's prompt; see `StoppedMethod.completions`."""
        return await self._stopped(number).completions(*request)

    async def decline(self) -> None:
        """Let all methods go on, also those at pdb's prompt, and stop at no more breakpoints."""
        self._is_off = True
        self._let_go()

    def end(self) -> None:
        """Do the same because the machine ends."""
        self._is_ending = True
        self._let_go()

    def _let_go(self) -> None:
        for _, stopped in self._stops.values():
            stopped.decline()
        self._new.clear()
        self._stops.clear()

    async def post_mortem(self, failure: str) -> Stop:
        """Begin to debug a call that has failed; return its stop, to be attached to."""
        exc = kept.find(failure)
        if exc is None:
            raise UsageError(
                f"{self._machine} does not have the frames of this call any more: it keeps those "
                f"of its last {kept.limit()}; set {kept.VARIABLE} to more before it starts"
            )
        from ._pdb import RemotePdb

        stops: list[Stop] = []
        announce = functools.partial(self._announce, told=stops.append)
        examine = RemotePdb(self._machine, announce).examine
        threading.Thread(target=examine, args=(exc,), name="post mortem", daemon=True).start()
        while not stops:
            await self._changed.wait()
        self._stopped(stops[0].number).notice()
        return stops[0]

    def _announce(
        self, place: str, files: tuple[str, ...], *, told: Callable[[Stop], object] | None = None
    ) -> StoppedMethod:
        """Tell of a method that has stopped, in its thread: the driver, or who asked for it."""
        stopped = StoppedMethod(self._token)
        stop = Stop(next(self._numbers), place, files)

        def add() -> None:
            self._stops[stop.number] = stop, stopped
            (told or self._new.append)(stop)
            self._changed.set()

        self._token.run_sync_soon(add)
        return stopped

    def _end_with(self, number: int, reply: Reply) -> Reply:
        if reply.prompt is None:
            self._stops.pop(number, None)
        return reply

    def _stopped(self, number: int) -> StoppedMethod:
        return self._stops[number][1]

    def _reason_to_pass_over(self) -> str | None:
        if threading.get_ident() == self._loop_thread:
            return (
                "in an async def, a debugger would stop the whole machine; make the method a def, "
                "or put that part in a function that is called by trio.to_thread.run_sync"
            )
        if self._is_ending:
            return "the machine is about to end"
        if os.getpid() != self._pid:
            return "the debugger does not reach processes that a method starts"
        return None
