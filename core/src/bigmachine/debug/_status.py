"""What a look at a session shows: plain data, which also goes out as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._values import DiskInfo, LoadInfo, MemoryInfo


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """One machine, now. Times are in seconds, costs in US dollars; None is unknown."""

    name: str
    state: str
    """``"launched"``, ``"booting"``, ``"running"`` or ``"stopped"``."""
    addr: str = ""
    zone: str = ""
    kind: str = ""
    """What was bought: ``"c7i.xlarge spot"``."""
    cost_per_hour: float | None = None
    age: float = 0.0
    """Since it was launched, until it stopped."""
    boot_phase: str = ""
    boot_done: int = 0
    boot_total: int = 0
    """Both are as in `BootProgress`: bytes of an upload, parts of a build; else 0."""
    maxprocs: int | None = None
    reply_time: float | None = None
    """How long the replies to its last keepalives took, the median."""
    silent_for: float | None = None
    """Since its last reply to a keepalive."""
    memory: MemoryInfo | None = None
    disk: DiskInfo | None = None
    load: LoadInfo | None = None
    measured_ago: float | None = None
    is_healthy: bool = True
    notice: str = ""
    """What its provider has announced last."""
    error: str = ""
    """Why it stopped: one line."""


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A session and its machines, now."""

    name: str
    system: str
    age: float
    """Since the session was opened, in seconds."""
    cost: str
    """What it has cost so far, for people; empty if it costs nothing."""
    cost_per_hour: float | None
    """Of the machines that are not stopped; None if a price is unknown, or all are free."""
    machines: list[MachineStatus] = field(default_factory=list)
    forgotten: int = 0
    """How many more machines have stopped, which are no longer listed."""
