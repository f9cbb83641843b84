"""The observer that a driver's session gets: its traces, in the driver's OpenTelemetry."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NoOpTracer

from .._events import Event, SessionOpened
from .._version import __version__
from ..system import hookimpl
from . import _names
from ._calls import CallSpans
from ._plain import from_plain
from ._session_spans import SessionSpans

logger = logging.getLogger("bigmachine.otel")


class OpenTelemetry(CallSpans):
    """Traces one session: a span of the session, of each boot, and of each call, at both ends.

    ``tracer_provider`` is the SDK's; without it, the one that your program has set as the global
    one by the time the session opens. What it exports to is your choice; machines export nothing:
    their spans come to the driver and are exported there.

    The span that is current where this object is made is the parent of the session's span. The
    parent of a call's span is the one that is current for its caller, and else the session's.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._given = tracer_provider
        self._provider: TracerProvider | None = None  # from the session's opening
        self._session = SessionSpans(context.get_current())
        super().__init__(NoOpTracer(), parent=lambda: self._session.context)

    @hookimpl
    def event(self, event: Event) -> None:
        """Make spans of the session and of boots; other events are the session span's."""
        if isinstance(event, SessionOpened):
            self._provider = self._usable_provider()
        self._session.take(event, self.tracer)

    @hookimpl
    def spans(self, machine: str, spans: Sequence[Mapping[str, Any]]) -> None:
        """Export a machine's spans, as if they had ended here."""
        if self._provider is None:
            return
        # The SDK has no public way to export a span that another process has made.
        processor = self._provider._active_span_processor
        for plain in spans:
            processor.on_end(from_plain(plain, self._provider.resource))

    def _usable_provider(self) -> TracerProvider | None:
        provider = self._given or trace.get_tracer_provider()
        if isinstance(provider, TracerProvider):
            self.tracer = provider.get_tracer(_names.SCOPE, __version__)
            return provider
        logger.warning(
            "the session is not traced: no TracerProvider of the OpenTelemetry SDK is set; call "
            "opentelemetry.trace.set_tracer_provider() before you open the session, or pass one "
            "to OpenTelemetry()"
        )
        return None
