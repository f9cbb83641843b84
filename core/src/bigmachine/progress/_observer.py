"""The progress of a session's starts: an observer, which tells the display what happens."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator

import trio

from .._events import BootProgress, Event, MachineChanged, MachinesRequested, MachinesStarted
from .._switches import read_switch
from ..system import System, hookimpl
from ._display import display
from ._start import Start

VARIABLE = "BIGMACHINE_PROGRESS"
_END_SECONDS = 1.0  # for a display to be taken away: usually that takes no time at all


class Progress:
    """Shows how far a session's calls of `start` are, unless ``BIGMACHINE_PROGRESS`` is off."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._starts: dict[trio.lowlevel.Task, Start] = {}  # by the task that is in it
        self._start_of: dict[str, Start] = {}  # by machine, until the start ends

    @contextlib.asynccontextmanager
    async def showing(self, requested: int) -> AsyncIterator[None]:
        """Show a start of so many machines while the block runs, which is the whole of it.

        Raises `UsageError`, before anything is started, if the variable is misspelt.
        """
        if not is_on():
            yield
            return
        start = Start(requested, system=self._system.name, boots=self._system.ships_environment)
        task = trio.lowlevel.current_task()
        self._starts[task] = start
        display.add(start)
        has_failed = True
        try:
            yield
            has_failed = False
        finally:
            start.end(has_failed=has_failed)
            del self._starts[task]
            for machine in [name for name, its in self._start_of.items() if its is start]:
                del self._start_of[machine]
            await _end(start)

    @hookimpl
    def event(self, event: Event) -> None:
        """Take in what happens."""
        match event:
            case MachinesRequested() | MachinesStarted():
                start = self._starts.get(trio.lowlevel.current_task())
                if start is None:
                    return
                if isinstance(event, MachinesRequested):
                    start.requested_now()
                else:
                    names = start.launched(event.instances)
                    self._start_of.update(dict.fromkeys(names, start))
            case MachineChanged() | BootProgress() if event.machine in self._start_of:
                self._start_of[event.machine].changed(event)


def is_on() -> bool:
    """Whether the user wants to see progress; `UsageError` if that can't be told."""
    return read_switch(VARIABLE, default=True)


async def _end(start: Start) -> None:
    """Take a start off the display; return when that has happened, if the screen allows it."""
    token, has_ended = trio.lowlevel.current_trio_token(), trio.Event()
    if display.remove(start, functools.partial(token.run_sync_soon, has_ended.set)):
        with trio.move_on_after(_END_SECONDS, shield=True):
            await has_ended.wait()
