"""What has happened to each machine of a session: an observer that remembers it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .._driver import program_text
from .._events import (
    BootProgress,
    Event,
    MachineChanged,
    MachineHealth,
    MachineNotice,
    MachinesStarted,
)
from .._full_names import short_name
from .._values import Cost, Instance, State, instance_kind
from ..errors import sanitize_line
from ..machine._async import AsyncMachine
from ..system import hookimpl
from ._measures import Measured, Measures
from ._methods import method_statuses
from ._status import MachineStatus, SessionStatus

STOPPED_KEPT = 1000
"""How many machines that have stopped are remembered, the last ones."""

_STATES = {State.UNSTARTED: "launched", State.STARTING: "booting", State.RUNNING: "running"}


class StatusBoard:
    """Observes a session from its beginning, so that somebody may look at it at any time.

    ``machines`` returns those that are not stopped, and ``cost`` what the session has cost.
    """

    def __init__(
        self,
        session: str,
        *,
        system: str,
        machines: Callable[[], Iterable[AsyncMachine]],
        cost: Callable[[], Cost],
    ) -> None:
        self.measures = Measures(machines)
        self._session = session
        self._system = system
        self._machines = machines
        self._cost = cost
        self._opened = time.monotonic()
        self._records: dict[str, _Record] = {}
        self._forgotten = 0

    @property
    def short_name(self) -> str:
        """The session's name as people say it."""
        return short_name(self._session)

    @hookimpl
    def event(self, event: Event) -> None:
        """Remember what it says."""
        match event:
            case MachinesStarted():
                for instance in event.instances:
                    name = short_name(instance.name)
                    self._records.setdefault(name, _Record(instance))
            case BootProgress():
                if record := self._records.get(event.machine):
                    record.progress = event
            case MachineHealth():
                if record := self._records.get(event.machine):
                    record.is_healthy = event.healthy
            case MachineNotice():
                if record := self._records.get(event.machine):
                    record.notice = ": ".join(filter(None, [event.kind, event.detail]))
            case MachineChanged(state=State.STOPPED):
                if record := self._records.get(event.machine):
                    record.ended = time.monotonic()
                    line = str(event.error).partition("\n")[0]
                    record.error = line.removeprefix(f"{event.machine} stopped: ")
                    self._forget()

    def status(self) -> SessionStatus:
        """Return what there is to see now."""
        now = time.monotonic()
        living = {machine.name: machine for machine in self._machines()}
        prices = [
            record.instance.cost_per_hour
            for record in self._records.values()
            if record.ended is None
        ]
        return SessionStatus(
            name=self._session,
            system=self._system,
            pid=os.getpid(),
            program=program_text(sys.argv),
            age=now - self._opened,
            cost=str(self._cost()),
            cost_per_hour=None if None in prices else sum(filter(None, prices)) or None,
            machines=[
                self._machine_status(name, record, living.get(name), now)
                for name, record in self._records.items()
            ],
            methods=method_statuses(self.measures.answers.values()),
            forgotten=self._forgotten,
        )

    def _machine_status(
        self, name: str, record: _Record, machine: AsyncMachine | None, now: float
    ) -> MachineStatus:
        instance, progress = record.instance, record.progress
        state = "stopped" if record.ended is not None else "launched"
        if machine is not None:
            state = _STATES.get(machine.state, "stopped")
        is_booting = state in ("launched", "booting")
        replies = machine.keepalive_reply_times if machine is not None else []
        measured = self.measures.answers.get(name) if state == "running" else None
        return MachineStatus(
            name=name,
            state=state,
            id=sanitize_line(instance.id),
            addr=sanitize_line(instance.address),
            zone=sanitize_line(instance.zone),
            kind=sanitize_line(instance_kind(instance)),
            cost_per_hour=instance.cost_per_hour,
            age=(now if record.ended is None else record.ended) - record.began,
            boot_phase=progress.phase if progress and is_booting else "",
            boot_done=progress.done if progress and is_booting else 0,
            boot_total=progress.total if progress and is_booting else 0,
            maxprocs=machine.maxprocs if machine is not None and state == "running" else None,
            reply_time=sorted(replies)[len(replies) // 2] if replies else None,
            silent_for=machine.keepalive_age if machine is not None else None,
            is_silent=machine is not None and machine.is_silent,
            is_healthy=record.is_healthy,
            notice=sanitize_line(record.notice),
            error=sanitize_line(record.error),
            **(_measures(measured, now) if measured else {}),
        )

    def _forget(self) -> None:
        """Forget those that stopped first, if there are too many."""
        stopped = [name for name, record in self._records.items() if record.ended is not None]
        for name in stopped[:-STOPPED_KEPT]:
            del self._records[name]
            self._forgotten += 1


def _measures(measured: Measured, now: float) -> dict[str, Any]:
    return _gpu_measures(measured) | {
        "measured_ago": now - measured.at,
        "cpus": measured.rate("bigmachine_cpu_seconds"),
        "load": measured.sum("bigmachine_load1"),
        "memory_bytes": measured.sum("bigmachine_memory_total_bytes"),
        "memory_used": _used(
            measured.sum("bigmachine_memory_available_bytes"),
            measured.sum("bigmachine_memory_total_bytes"),
        ),
        "disk_free_bytes": measured.sum("bigmachine_disk_free_bytes"),
        "disk_used": _used(
            measured.sum("bigmachine_disk_free_bytes"), measured.sum("bigmachine_disk_total_bytes")
        ),
        "calls_in_flight": measured.sum("bigmachine_calls_in_flight"),
        "calls_per_second": measured.rate("bigmachine_calls_begun"),
        "call_seconds": measured.median("bigmachine_call_seconds"),
        "received_per_second": measured.rate("bigmachine_received_bytes"),
        "sent_per_second": measured.rate("bigmachine_sent_bytes"),
    }


def _gpu_measures(measured: Measured) -> dict[str, Any]:
    busy = measured.variables.get("bigmachine_gpu_utilization")
    used, total = (measured.sum(f"bigmachine_gpu_memory_{x}_bytes") for x in ("used", "total"))
    return {
        "gpus": busy.count if busy is not None else 0,
        "gpu_used": busy.mean if busy is not None else None,
        "gpu_memory_bytes": total or None,
        "gpu_memory_used": used / total if used is not None and total else None,
    }


def _used(free: float | None, total: float | None) -> float | None:
    return None if free is None or not total else 1 - free / total


@dataclass(slots=True)
class _Record:
    """What is known of one machine, whether it runs or not; times are of `time.monotonic`."""

    instance: Instance
    began: float = 0.0
    ended: float | None = None
    progress: BootProgress | None = None
    is_healthy: bool = True
    notice: str = ""
    error: str = ""

    def __post_init__(self) -> None:
        self.began = time.monotonic()
