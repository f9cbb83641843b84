"""The plain data that passes between the layers: states, instances, measurements."""

from __future__ import annotations

import datetime
import enum
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._full_names import short_name
from ._spelling import checks_names
from .errors import StopReason, UsageError, sanitize_line

LIMIT_BYTES = 64 << 20  # of the local files that are sent, unless the user allows more


class State(enum.IntEnum):
    """The state of a machine; each is followed only by a later one."""

    UNSTARTED = 0
    STARTING = 1
    RUNNING = 2
    STOPPED = 3

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Instance:
    """One machine as its provider knows it: plain data, no behaviour.

    ``address`` is the ``host:port`` where the machine's wire is reached by the
    system's own HTTP client; ``name`` the machine's name, as in its certificate.
    ``cost_per_hour`` is in US dollars, None where it is unknown or free.

    ``details`` are for people, except for some keys that `System.instances` sets and
    ``bigmachine ps`` and ``reap`` use. Each is empty or left out where it does not apply:

    * ``kind``: what it is, ``"instance"`` if it computes, which is the default; else
      ``"volume"``, ``"security-group"``, or the like
    * ``session``: the session's name; by default what follows the first dot of ``name``
    * ``driver``: ``str(request.driver)``, and ``host``: ``request.driver.host``
    * ``started``: when it, or its session, began: in UTC, as ``"2025-01-31T23:59:59Z"``
    * ``immortal``: not empty for a machine that is meant to outlive its driver
    * ``state``, in the provider's words
    * ``stopped_and_billed``: not empty for a machine that has stopped, and costs as much as one
      that runs: it is shown, and freed, first
    * ``instance_type``, as in ``"c7i.xlarge"``, and ``market``, how it was bought, as in
      ``"spot"``: they say what it is that costs, wherever a cost is shown
    """

    name: str
    address: str
    id: str = ""
    zone: str = ""
    cost_per_hour: float | None = None
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def addr(self) -> str:
        """The address users see: where the machine is and, as the fragment, its name."""
        return f"https://{self.address}#{self.name}"

    @property
    def kind(self) -> str:
        """Its kind, from its details: ``"instance"`` if it computes."""
        return self.details.get("kind") or "instance"

    @property
    def session(self) -> str:
        """The name of the session that it belongs to, from its details or its own name."""
        return self.details.get("session") or self.name.partition(".")[2]


@dataclass(frozen=True, slots=True)
class CostGroup:
    """The machines of one kind, ``"c7i.xlarge spot"``, that a session paid for.

    ``kind`` is empty if the system does not say it. Each ran for ``seconds``, on average.
    """

    count: int
    kind: str
    seconds: float

    def __str__(self) -> str:
        """Return it for people: ``"3 × c7i.xlarge spot, 14 min"``."""
        noun = f"× {sanitize_line(self.kind)}" if self.kind else f"machine{'s' * (self.count != 1)}"
        return f"{self.count} {noun}, {duration_text(self.seconds)}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a session has cost so far: an estimate, in ``dollars``.

    ``is_partial`` tells whether there are machines whose price is unknown: ``dollars`` is
    without them. Machines that cost nothing are in no group. If nothing costs anything, the
    cost is false, and an empty string.
    """

    dollars: float = 0.0
    is_partial: bool = False
    groups: tuple[CostGroup, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.groups)

    def __str__(self) -> str:
        """Return it as one line, for people: ``"3 × c7i.xlarge spot, 14 min, about $0.05"``."""
        if not self.groups:
            return ""
        total = _about(self.dollars)
        if self.is_partial and not self.dollars:
            total = "price unknown"
        elif self.is_partial:
            total += " for those whose price is known"
        elif len(self.groups) > 1:
            total += " in all"
        return (", " if len(self.groups) == 1 else "; ").join((*map(str, self.groups), total))


@dataclass(frozen=True, slots=True)
class Keepalive:
    """How the driver and a machine watch each other; all times are in seconds.

    The driver asks every ``period``, each time for at most ``rpc_timeout``. Once
    nothing has come for ``timeout``, the driver calls the machine stopped; and
    the machine, if its driver sends nothing for ``timeout``, ends itself.
    """

    period: float = 60.0
    timeout: float = 120.0
    rpc_timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Termination:
    """Why an instance no longer runs.

    ``detail`` is a clause for the user: ``"killed by signal 9 (SIGKILL)"``.
    """

    reason: StopReason
    detail: str


Diagnose = Callable[[], Awaitable[Termination | None]]
"""Finds out why a machine is gone; returns None if it is not known to be gone."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a provider tells one of its machines about that machine's future.

    ``kind`` is ``"interruption"`` (the machine will be taken back), ``"rebalance"`` (it may
    be, soon), ``"maintenance"``, or another word of the system's. ``detail`` is a clause for
    the user: ``"EC2 will terminate the spot instance"``. ``at`` is when that is due, with a
    time zone; None if that is unknown.
    """

    kind: str
    detail: str
    at: datetime.datetime | None = None

    def __post_init__(self) -> None:
        if self.at is not None and self.at.utcoffset() is None:
            raise UsageError(f"Notice: at has no time zone: {self.at}")

    def __str__(self) -> str:
        """Return it as one line, for people."""
        detail = sanitize_line(self.detail)
        if self.at is None:
            return detail
        return f"{detail} at {self.at.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


class LinePart(bytes):
    """The beginning of a line, or more of it, from a system's ``tail``: the rest comes later.

    A system may yield one when a machine has printed part of a line and then nothing for a
    moment, as for a progress bar, and for a line that is too long to be kept whole.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a machine has printed, or a record that was logged there.

    ``str`` of it is for people, harmless on a terminal, and begins with the machine's name.
    """

    time: float
    """When it arrived; of a record, when it was logged, by the machine's clock. Since 1970."""
    machine: str
    """The machine's short name."""
    text: str
    """Without its newline, sanitized. A record's message and traceback may be of several lines."""
    level: int | None = None
    """Of a record, as in `logging`; None if it was printed."""
    logger: str | None = None
    """The name of a record's logger; None if it was printed."""
    lost: int = 0
    """If not 0, so many lines are no longer there, in whose place this one is."""

    @property
    def full_text(self) -> str:
        """The text, after the level and the logger of a record: ``WARNING work: half done``."""
        if self.level is None:
            return self.text
        return f"{logging.getLevelName(self.level)} {self.logger}: {self.text}"

    def __str__(self) -> str:
        return "\n".join(f"{self.machine}: {line}" for line in self.full_text.split("\n"))


@dataclass(frozen=True, slots=True)
class MachineInfo:
    """What a machine says about itself.

    ``login_user`` is whom people log in as by ssh, to a VM that was started with an ``ssh_key``;
    else it is empty.
    """

    name: str
    pid: int
    python: tuple[int, int, int]
    platform: str
    machine: str
    hostname: str
    maxprocs: int
    version: str
    login_user: str = ""


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """Memory of the host and of the machine's process, in bytes."""

    total_bytes: int
    available_bytes: int
    process_bytes: int

    @property
    def used_fraction(self) -> float:
        """How much of the host's memory is in use, 0 to 1."""
        return 1 - self.available_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True, slots=True)
class DiskInfo:
    """The file system of the machine's temporary directory, in bytes."""

    path: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class LoadInfo:
    """The host's load averages over 1, 5 and 15 minutes."""

    one: float
    five: float
    fifteen: float


@checks_names
@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentOptions:
    """Which part of the driver's environment is sent to machines that have none of its code.

    ``include`` and ``exclude`` are patterns for files of local folders, as in ``.gitignore``.
    Secrets, such as ``.env`` and private keys, are sent only if ``include`` names them.
    ``exclude_distributions`` names installed distributions that are not sent. ``limit_bytes``
    is the largest total size of the local files.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exclude_distributions: tuple[str, ...] = ()
    limit_bytes: int = LIMIT_BYTES

    def __post_init__(self) -> None:
        for name in ("include", "exclude", "exclude_distributions"):
            value = getattr(self, name)
            if not isinstance(value, Iterable) or isinstance(value, str | bytes):
                raise UsageError(f"EnvironmentOptions: {name} is a list of strings, not {value!r}")
            values = tuple(value)
            for each in values:
                if not isinstance(each, str):
                    raise UsageError(f"EnvironmentOptions: {name} has {each!r}, which is no string")
            object.__setattr__(self, name, values)
        limit = self.limit_bytes
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise UsageError(
                f"EnvironmentOptions: limit_bytes is a number of bytes, such as {1 << 30} for "
                f"1 GiB, not {limit!r}"
            )


@dataclass(frozen=True, slots=True)
class KeepaliveReply:
    """A machine's answer to a keepalive.

    ``next`` is the number of seconds after which it ends itself, if it is not asked again.
    A machine that is not ``healthy`` has used 95 % of its host's memory.
    """

    next: float
    healthy: bool


def instance_text(instance: Instance) -> str:
    """Return the names of a machine for people: ``"m0 (i-0123abcd)"``."""
    name = short_name(instance.name)
    return sanitize_line(f"{name} ({instance.id})" if instance.id else name)


def instance_kind(instance: Instance) -> str:
    """Return what kind of machine it is: ``"c7i.xlarge spot"``; empty if unknown."""
    words = (instance.details.get(key, "") for key in ("instance_type", "market"))
    return " ".join(filter(None, words))


def dollar_text(dollars: float) -> str:
    """Return an amount in US dollars for people: ``"$0.05"``."""
    if 0 < dollars < 0.01:
        return f"${dollars:.4f}"
    return f"${dollars:,.2f}" if dollars < 1000 else f"${dollars:,.0f}"


def _about(dollars: float) -> str:
    return f"about {dollar_text(dollars)}" if dollars >= 0.005 else "less than $0.01"


def size_text(size_bytes: int) -> str:
    """Return a number of bytes for people: ``"812 B"``, ``"4.2 MiB"``."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size, units = size_bytes / 1024, ["KiB", "MiB", "GiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.1f} {units[0]}"


def duration_text(seconds: float) -> str:
    """Return a duration for people: ``"14 min"``, ``"2 h 5 min"``, ``"3 d 4 h"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def show_in_notebook(value: object, printer: Any, cycle: bool) -> None:  # Any: IPython's printer
    """Show a value as ``print`` does, if it is what a notebook's cell ends with.

    IPython looks for it as ``_repr_pretty_``, in the class itself.
    """
    is_part = cycle or printer.indentation  # of a list, say
    printer.text(repr(value) if is_part else str(value))
