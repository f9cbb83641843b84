"""The events of a session, as observers are told them: plain data."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Literal

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
    """The system was asked for machines; `MachinesStarted` follows once it has launched them."""

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
    """The environment was captured, which is sent to machines that have none of the driver's code.

    ``digest`` identifies it. It has so many ``distributions`` and local ``files``. A machine
    with a package index is sent ``size_bytes``, one without an index is sent more. The capture
    took ``seconds``.
    """

    digest: str
    distributions: int
    files: int
    size_bytes: int
    seconds: float

    def __str__(self) -> str:
        """Return it as one line, for people."""
        return (
            f"environment {self.digest[:12]}: {self.distributions} distributions and {self.files} "
            f"local files, {size_text(self.size_bytes)} to send, captured in {self.seconds:.1f} s"
        )


@dataclass(frozen=True, slots=True)
class BootProgress(Event):
    """The progress of a machine's boot.

    ``phase`` is ``"boot"``, ``"verify"``, ``"identify"``, ``"upload"``, ``"build"`` or ``"start"``.
    ``done`` and ``total`` count bytes in an upload, distributions and folders in a build; in the
    other phases both are 0. ``seconds`` is how long the phase has taken so far.
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
    """The provider has announced something about a machine: the fields are the `Notice`'s."""

    machine: str
    kind: str
    detail: str
    at: datetime.datetime | None


@dataclass(frozen=True, slots=True)
class CostWarning(Event):
    """A session has spent most of its ``max_session_cost``, and its machines still run.

    It has cost ``dollars`` of the ``limit``. At the present rate, its machines will be stopped
    in ``seconds``.
    """

    dollars: float
    limit: float
    seconds: float

    def __str__(self) -> str:
        """Return it as one line, for people."""
        when = f"in {duration_text(self.seconds)}" if self.seconds >= 1 else "now"
        return (
            f"{dollar_text(self.dollars)} of {dollar_text(self.limit)} (max_session_cost) are "
            f"spent: at this rate all machines are stopped {when}"
        )


@dataclass(frozen=True, slots=True)
class IdleWarning(Event):
    """A session's machines have had nothing to do for ``seconds``.

    They are stopped in ``remaining`` seconds, unless a method is called; None if the session has
    no ``idle_timeout``. The session has had this ``cost`` so far.
    """

    seconds: float
    remaining: float | None
    cost: Cost = field(default_factory=Cost)

    def __str__(self) -> str:
        """Return it as one line, for people."""
        text = f"all machines have been idle for {duration_text(self.seconds)}"
        if self.remaining is not None:
            text += (
                f": they are stopped in {duration_text(self.remaining)} (idle_timeout), unless a "
                "method is called"
            )
        if self.cost:
            text += f"; cost so far: {self.cost}"
        if self.remaining is None:
            text += (
                ". To end them, call session.shutdown(); to have idle machines end by themselves, "
                "set idle_timeout"
            )
        return text


@dataclass(frozen=True, slots=True)
class CallStarted(Event):
    """A call or a stream starts; only the hook ``call_started`` is told.

    ``number`` is unique in this process: the `CallEnded` of the call has the same one. ``method``
    is ``"Service.method"``. ``sent_bytes`` are its arguments, as they are pickled; what iterators
    and files among them yield is not counted.
    """

    number: int
    machine: str
    addr: str
    method: str
    is_stream: bool
    sent_bytes: int


CallOutcome = Literal["returned", "raised", "cancelled", "timeout", "stopped", "failed"]
"""How a call ended; see `CallEnded`."""


@dataclass(frozen=True, slots=True)
class CallEnded(Event):
    """A call or a stream has ended; only the hook ``call_ended`` is told.

    The first fields are those of its `CallStarted`. It took ``seconds`` as its caller saw it: the
    wait for a machine that was not ``RUNNING`` yet, and repetitions, are included. The ``outcome``
    is one of:

    * ``"returned"``; a stream was read to its end;
    * ``"raised"``: the method raised ``error``;
    * ``"cancelled"`` by its caller; a stream was closed before its end;
    * ``"timeout"``: it was not done within its ``timeout``;
    * ``"stopped"``: the machine is ``STOPPED``;
    * ``"failed"`` for another reason, which is the ``error``: the connection was lost, the machine
      has no such method.

    ``received_bytes`` are those of the result, or of the ``items`` of a stream, as they are
    pickled; ``items`` is None for a call. With ``retry``, it was tried ``attempts`` times.
    """

    number: int
    machine: str
    addr: str
    method: str
    is_stream: bool
    sent_bytes: int
    outcome: CallOutcome
    error: BaseException | None
    seconds: float
    received_bytes: int
    items: int | None
    attempts: int


@dataclass(frozen=True, slots=True)
class SessionClosed(Event):
    """Every machine is stopped and everything the session made is released, at this ``cost``."""

    session: str
    cost: Cost = field(default_factory=Cost)
