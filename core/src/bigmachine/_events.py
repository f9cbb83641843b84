"""What observers are told: everything that happens in a session, as plain data."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from ._values import Cost, Instance, State, dollar_text, duration_text, size_text


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a session, told to every observer."""


@dataclass(frozen=True, slots=True)
class SessionOpened(Event):
    """The session is set up; nothing is started yet."""

    session: str
    system: str


@dataclass(frozen=True, slots=True)
class MachinesRequested(Event):
    """The system is asked for machines: they are provisioned until `MachinesStarted`."""

    requested: int


@dataclass(frozen=True, slots=True)
class MachinesStarted(Event):
    """The system launched ``instances``, perhaps fewer than the ``requested``."""

    requested: int
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class MachineChanged(Event):
    """A machine reached ``state``; ``error`` says why when that is ``STOPPED``."""

    machine: str
    addr: str
    state: State
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class EnvironmentCaptured(Event):
    """It is known what machines that have none of the driver's code are sent.

    ``digest`` names the environment, of that many ``distributions`` and local ``files``.
    ``size_bytes`` go to each machine that has a package index, and more to one that has
    none. It took ``seconds``.
    """

    digest: str
    distributions: int
    files: int
    size_bytes: int
    seconds: float

    def __str__(self) -> str:
        """Say it in a line, for people."""
        return (
            f"environment {self.digest[:12]}: {self.distributions} distributions and {self.files} "
            f"local files, {size_text(self.size_bytes)} to send, captured in {self.seconds:.1f} s"
        )


@dataclass(frozen=True, slots=True)
class BootProgress(Event):
    """How far a machine's boot is.

    ``phase`` is ``"boot"``, ``"identify"``, ``"upload"``, ``"build"`` or ``"start"``. Of an
    upload ``done`` and ``total`` are in bytes, of a build in distributions and folders; in the
    other phases both are 0. ``seconds`` is how long the phase has taken.
    """

    machine: str
    phase: str
    done: int
    total: int
    seconds: float


@dataclass(frozen=True, slots=True)
class MachineHealth(Event):
    """A machine turned unhealthy (it used 95 % of its memory), or healthy again."""

    machine: str
    healthy: bool


@dataclass(frozen=True, slots=True)
class MachineNotice(Event):
    """A machine was told about its future by its provider: the fields of the `Notice`."""

    machine: str
    kind: str
    detail: str
    at: datetime.datetime | None


@dataclass(frozen=True, slots=True)
class CostWarning(Event):
    """A session has spent most of its ``max_session_cost``, and machines run on.

    It has cost ``dollars`` of the ``limit``; at the present rate its machines are stopped
    for that in ``seconds``.
    """

    dollars: float
    limit: float
    seconds: float

    def __str__(self) -> str:
        """Say it in a line, for people."""
        when = f"in {duration_text(self.seconds)}" if self.seconds >= 1 else "now"
        return (
            f"{dollar_text(self.dollars)} of {dollar_text(self.limit)} (max_session_cost) are "
            f"spent: at this rate all machines are stopped {when}"
        )


@dataclass(frozen=True, slots=True)
class SessionClosed(Event):
    """Every machine is stopped and everything the session made is released, at this ``cost``."""

    session: str
    cost: Cost = field(default_factory=Cost)
