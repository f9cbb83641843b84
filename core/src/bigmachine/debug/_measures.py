"""How machines are: asked of them only while somebody looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import trio

from .._repeated_event import RepeatedEvent
from .._values import DiskInfo, LoadInfo, MemoryInfo, State
from ..errors import BigmachineError
from ..machine._async import AsyncMachine

PERIOD = 2.0
"""Seconds between two rounds of questions."""

_WATCHED_SECONDS = 10.0  # after somebody has looked
_ANSWER_SECONDS = 5.0  # for a machine that computes, or is far away
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Measured:
    """What a machine said, and when, on `time.monotonic`."""

    at: float
    memory: MemoryInfo
    disk: DiskInfo
    load: LoadInfo


class Measures:
    """The last answers of each machine. ``machines`` returns those that are not stopped."""

    def __init__(self, machines: Callable[[], Iterable[AsyncMachine]]) -> None:
        self._machines = machines
        self._answers: dict[str, Measured] = {}
        self._watched_at = float("-inf")
        self._looked = RepeatedEvent()

    def of(self, name: str) -> Measured | None:
        """Return what the machine of this name said last."""
        return self._answers.get(name)

    def look(self) -> None:
        """Note that somebody looks: machines are asked for the next seconds."""
        self._watched_at = time.monotonic()
        self._looked.set()

    async def run(self) -> None:
        """Ask all running machines again and again while somebody looks, until cancelled."""
        while True:
            while time.monotonic() - self._watched_at > _WATCHED_SECONDS:
                await self._looked.wait()
            await self._ask_all()
            await trio.sleep(PERIOD)

    async def _ask_all(self) -> None:
        limiter = trio.CapacityLimiter(_AT_ONCE)
        machines = [machine for machine in self._machines() if machine.state == State.RUNNING]
        names = {machine.name for machine in machines}
        self._answers = {name: one for name, one in self._answers.items() if name in names}
        async with trio.open_nursery() as nursery:
            for machine in machines:
                nursery.start_soon(self._ask, machine, limiter)

    async def _ask(self, machine: AsyncMachine, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            with trio.move_on_after(_ANSWER_SECONDS):
                try:
                    memory, load = await machine.memory(), await machine.load()
                    disk = await machine.disk()
                except BigmachineError:  # it has stopped, or can't be reached: that is seen anyway
                    return
                self._answers[machine.name] = Measured(time.monotonic(), memory, disk, load)
