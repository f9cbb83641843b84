"""What happens in a session, in its log: one plain sentence for each event."""

from __future__ import annotations

import logging
import time

from .._events import (
    BootProgress,
    EnvironmentCaptured,
    Event,
    MachineChanged,
    MachineHealth,
    MachinesRequested,
    MachinesStarted,
    SessionClosed,
    SessionOpened,
)
from .._full_names import short_name
from .._values import State
from ..errors import sanitize_line
from ..system import hookimpl

_session = logging.getLogger("bigmachine.session")
_machine = logging.getLogger("bigmachine.machine")
_boot = logging.getLogger("bigmachine.boot")


class EventLog:
    """An observer that logs a session's events.

    ``INFO`` tells what happens, ``DEBUG`` the details. What needs somebody's attention is logged
    as a warning where it is found, not here.
    """

    def __init__(self) -> None:
        self._requested = time.monotonic()

    @hookimpl
    def event(self, event: Event) -> None:
        """Log one event."""
        match event:
            case SessionOpened():
                _session.info("session %s is open on %s", _short(event.session), event.system)
            case MachinesRequested():
                self._requested = time.monotonic()
                machines = (
                    "1 machine is" if event.requested == 1 else f"{event.requested} machines are"
                )
                _session.info("%s requested", machines)
            case MachinesStarted():
                for instance in event.instances:
                    where = " ".join(filter(None, [instance.id, instance.zone, instance.address]))
                    _machine.debug(
                        "%s is launched: %s", _short(instance.name), sanitize_line(where)
                    )
            case EnvironmentCaptured():
                _session.info("%s", event)
            case BootProgress(total=0):
                _boot.debug("%s: phase %s begins", event.machine, event.phase)
            case MachineChanged(state=State.RUNNING):
                seconds = time.monotonic() - self._requested
                _machine.info(
                    "%s is running, %.1f s after it was requested", event.machine, seconds
                )
            case MachineChanged(state=State.STOPPED):
                # Its first line: the last lines of a machine that did not boot are in the error.
                _machine.info("%s", str(event.error).partition("\n")[0])
            case MachineChanged():
                _machine.debug("%s is %s at %s", event.machine, event.state, event.addr)
            case MachineHealth(healthy=True):
                _machine.info("%s has enough memory again", event.machine)
            case SessionClosed():
                cost = f"; cost: {event.cost}" if event.cost else ""
                _session.info("session %s is closed%s", _short(event.session), cost)


def _short(name: str) -> str:
    return sanitize_line(short_name(name))
