"""What a look at a session shows: plain data, which also goes out as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """One machine, now. Times are in seconds, costs in US dollars; None is unknown."""

    name: str
    state: str
    """``"launched"``, ``"booting"``, ``"running"`` or ``"stopped"``."""
    id: str = ""
    """Its provider's name for it; on ``local``, the number of its process."""
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
    is_silent: bool = False
    """Whether it is late with its reply to one."""
    measured_ago: float | None = None
    """The age of what follows, which the machine has measured."""
    cpus: float | None = None
    """How many processors its processes keep busy."""
    load: float | None = None
    """Its host's load average over a minute."""
    memory_bytes: float | None = None
    memory_used: float | None = None
    """Of the host's memory, a fraction."""
    disk_free_bytes: float | None = None
    disk_used: float | None = None
    """Of the file system of its temporary directory, a fraction."""
    gpus: int = 0
    """How many GPUs it may use, as far as they say how busy they are."""
    gpu_used: float | None = None
    """Of their time, the mean of all: a fraction."""
    gpu_memory_bytes: float | None = None
    """Unknown where they share the host's memory."""
    gpu_memory_used: float | None = None
    """Of that memory, a fraction."""
    calls_in_flight: float | None = None
    calls_per_second: float | None = None
    call_seconds: float | None = None
    """The median of all its calls so far."""
    received_per_second: float | None = None
    sent_per_second: float | None = None
    """Both are bytes, of drivers and peers."""
    is_healthy: bool = True
    notice: str = ""
    """What its provider has announced last."""
    error: str = ""
    """Why it stopped: one line."""


@dataclass(frozen=True, slots=True)
class MethodStatus:
    """The calls of one method on all machines, as far as these have said."""

    name: str
    begun: float
    raised: float
    in_flight: float
    per_second: float | None = None
    median: float | None = None
    p99: float | None = None
    """Both are seconds, of all calls so far."""


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A session and its machines, now."""

    name: str
    system: str
    pid: int
    """The driver's process."""
    program: str
    """What it runs: ``"train.py --epochs"``."""
    age: float
    """Since the session was opened, in seconds."""
    cost: str
    """What it has cost so far, for people; empty if it costs nothing."""
    cost_per_hour: float | None
    """Of the machines that are not stopped; None if a price is unknown, or all are free."""
    machines: list[MachineStatus] = field(default_factory=list)
    methods: list[MethodStatus] = field(default_factory=list)
    forgotten: int = 0
    """How many more machines have stopped, which are no longer listed."""
