"""The spans of a session and of its machines' boots, made of the events of the session."""

from __future__ import annotations

import dataclasses
import time

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Tracer

from .._events import (
    BootProgress,
    Event,
    MachineChanged,
    MachinesRequested,
    MachinesStarted,
    SessionClosed,
    SessionOpened,
)
from .._full_names import short_name
from .._values import Instance, State
from . import _names
from ._calls import set_error


class SessionSpans:
    """Turns a session's events into spans, below the one that is current in ``parent``."""

    def __init__(self, parent: Context) -> None:
        self.context = self._parent = parent
        """The context of the session's span, while it is open."""
        self._session: Span | None = None
        self._requests: list[tuple[int, int]] = []  # how many machines, and when
        self._boots: dict[str, _BootSpans] = {}

    def take(self, event: Event, tracer: Tracer) -> None:
        """Make spans of one event; those that begin and end none are events of the session's."""
        match event:
            case SessionOpened():
                self._session = tracer.start_span(
                    "bigmachine session",
                    self._parent,
                    attributes={_names.SESSION: event.session, _names.SYSTEM: event.system},
                )
                self.context = trace.set_span_in_context(self._session, self._parent)
            case MachinesRequested():
                self._requests.append((event.requested, time.time_ns()))
            case MachinesStarted():
                began = self._request_of(event)
                for instance in event.instances:
                    name = short_name(instance.name)
                    self._boots[name] = _BootSpans(instance, tracer, self.context, began=began)
            case BootProgress():
                if event.machine in self._boots and not event.total:
                    self._boots[event.machine].begin(event.phase)
            case MachineChanged(state=State.RUNNING | State.STOPPED):
                if event.machine in self._boots:
                    self._boots.pop(event.machine).end(event.error)
                elif event.state is State.STOPPED:
                    self._add(event)
            case MachineChanged():
                pass
            case SessionClosed():
                self._add(event)
                if self._session is not None:
                    self._session.end()
                self.context = self._parent
            case _:
                self._add(event)

    def _request_of(self, event: MachinesStarted) -> int:
        """Return when the request for these machines began: several may be under way."""
        request = next((one for one in self._requests if one[0] == event.requested), None)
        if request is None:
            return time.time_ns()
        self._requests.remove(request)
        return request[1]

    def _add(self, event: Event) -> None:
        if self._session is None:
            return
        values = {
            field.name: getattr(event, field.name)
            for field in dataclasses.fields(event)
            if getattr(event, field.name) is not None
        }
        self._session.add_event(
            type(event).__name__,
            {
                f"bigmachine.{name}": value if isinstance(value, str | int | float) else str(value)
                for name, value in values.items()
            },
        )


class _BootSpans:
    """The span of one machine's boot, from the request for it, with a child for each phase."""

    def __init__(self, instance: Instance, tracer: Tracer, parent: Context, *, began: int) -> None:
        attributes = {
            _names.MACHINE: short_name(instance.name),
            _names.HOST_ID: instance.id,
            _names.ZONE: instance.zone,
        }
        self._tracer = tracer
        self._span = tracer.start_span(
            "bigmachine boot",
            parent,
            start_time=began,
            attributes={name: value for name, value in attributes.items() if value},
        )
        self._context = trace.set_span_in_context(self._span, parent)
        self._phase: Span | None = self._start("provision", began)
        self.begin("connect")

    def begin(self, phase: str) -> None:
        """End the current phase and begin another one."""
        self._end_phase(None)
        self._phase = self._start(phase, time.time_ns())

    def end(self, error: BaseException | None) -> None:
        """End the boot; in the current phase, if it has failed."""
        self._end_phase(error)
        if error is not None:
            set_error(self._span, error)
        self._span.end()

    def _start(self, phase: str, began: int) -> Span:
        return self._tracer.start_span(f"bigmachine boot: {phase}", self._context, start_time=began)

    def _end_phase(self, error: BaseException | None) -> None:
        phase, self._phase = self._phase, None
        if phase is not None:
            if error is not None:
                set_error(phase, error)
            phase.end()
