"""How far one call of `start` is: how many of its machines are in which phase."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .._events import BootProgress, MachineChanged
from .._full_names import short_name
from .._values import Instance, State, dollar_text, duration_text, size_text
from ..errors import sanitize_line

PREPARING, PROVISIONING = "preparing", "provisioning"
BOOTING, UPLOADING, BUILDING, STARTING = "booting", "uploading", "building", "starting"
RUNNING, FAILED = "running", "failed"
PHASES = (PREPARING, PROVISIONING, BOOTING, UPLOADING, BUILDING, STARTING, RUNNING, FAILED)
"""Those of people, in their order; `docs/booting.md` has those of a boot."""

_PHASE_OF = {"upload": UPLOADING, "build": BUILDING, "start": STARTING}  # the others: booting


class Row(NamedTuple):
    """One phase, with how many machines are in it."""

    phase: str
    machines: int
    done: int
    total: int  # 0 if nothing is known of how far they are
    text: str


class Start:
    """The state of one call of `start`, from a session's events.

    The session's loop writes it, and the thread that shows it reads it, at any time.
    ``boots`` says whether its machines boot first, or start at once.
    """

    def __init__(self, requested: int, *, system: str, boots: bool) -> None:
        self.requested = requested
        self.system = system
        self.is_shown = False
        """Whether somebody has seen it, so that its end is to be shown, too."""
        self.has_failed = False
        """Whether the call raised: an error, or a cancellation."""
        self._boots = boots
        self._began = time.monotonic()  # people's time, whatever clock the session has
        self._ended: float | None = None
        self._is_requested = False
        self._is_launched = False
        self._machines: dict[str, _Machine] = {}
        self.reason = ""
        """Why the last machine that failed did so, in one line."""

    @property
    def seconds(self) -> float:
        """How long it has taken so far, or took."""
        return (self._ended or time.monotonic()) - self._began

    @property
    def running(self) -> int:
        """How many of its machines are ``RUNNING``."""
        return sum(machine.phase == RUNNING for machine in [*self._machines.values()])

    @property
    def is_complete(self) -> bool:
        """Whether it has ended well, and none of its machines is on its way any more."""
        phases = {machine.phase for machine in [*self._machines.values()]}
        return not self.has_failed and phases <= {RUNNING, FAILED} and RUNNING in phases

    def end(self, *, has_failed: bool) -> None:
        """Stop counting: the call is over."""
        self.has_failed, self._ended = has_failed, time.monotonic()

    def requested_now(self) -> None:
        """Note that the system has been asked for the machines."""
        self._is_requested = True

    def launched(self, instances: Iterable[Instance]) -> list[str]:
        """Take in what the system has launched; return the machines' short names."""
        first = BOOTING if self._boots else STARTING
        machines = {short_name(each.name): _Machine(each, first) for each in instances}
        self._machines.update(machines)
        self._is_launched = True
        return list(machines)

    def changed(self, event: MachineChanged | BootProgress) -> None:
        """Take in what happened to one of its machines."""
        machine = self._machines[event.machine]
        if isinstance(event, BootProgress):
            machine.phase = _PHASE_OF.get(event.phase, BOOTING)
            machine.done, machine.total = event.done, event.total
        elif event.state == State.RUNNING:
            machine.phase = RUNNING
        elif event.state == State.STOPPED:
            machine.phase = FAILED
            line = str(event.error).partition("\n")[0]
            self.reason = " ".join(sanitize_line(line).split())  # a tab is as wide as it likes

    def rows(self) -> list[Row]:
        """Return the phases that machines are in, in their order."""
        machines = [*self._machines.values()]
        rows = [_row(phase, [m for m in machines if m.phase == phase]) for phase in PHASES]
        if not self._is_launched:
            phase = PROVISIONING if self._is_requested else PREPARING
            return [Row(phase, self.requested, 0, 0, "")]
        missing = max(0, self.requested - len(machines))
        text = f"{missing} not launched" if missing else ""
        rows[-1] = Row(FAILED, rows[-1].machines + missing, 0, 0, text)
        return [row for row in rows if row.machines]

    def cost_text(self) -> str:
        """Return what its machines cost an hour, or nothing if that is nothing or not known."""
        machines = [m for m in [*self._machines.values()] if m.phase != FAILED]
        prices = [price for m in machines if (price := m.instance.cost_per_hour) is not None]
        if not sum(prices):
            return ""
        about = "" if len(prices) == len(machines) else "at least "
        return f"{about}{dollar_text(sum(prices))} an hour"

    def seconds_text(self) -> str:
        """Return how long it takes: ``"12 s"``, ``"1 min 40 s"``."""
        seconds = int(self.seconds)
        if seconds < 60 or seconds >= 3600:
            return duration_text(seconds)
        return f"{seconds // 60} min {seconds % 60} s"


@dataclass(slots=True)
class _Machine:
    instance: Instance
    phase: str
    done: int = 0
    total: int = 0


def _row(phase: str, machines: list[_Machine]) -> Row:
    done, total = sum(m.done for m in machines), sum(m.total for m in machines)
    if total and phase == UPLOADING:
        return Row(phase, len(machines), done, total, f"{size_text(done)} of {size_text(total)}")
    if total and phase == BUILDING:
        return Row(phase, len(machines), done, total, f"{done:,} of {total:,} packages")
    return Row(phase, len(machines), 0, 0, "")
