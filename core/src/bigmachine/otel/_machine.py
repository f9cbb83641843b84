"""Traces the calls that a machine serves, and those that it makes."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator, Mapping

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import ProxyTracerProvider, Span, SpanKind

from . import _names
from ._buffer import SpanBuffer
from ._calls import CallSpans, set_error


class MachineTracer:
    """Makes a span of each call that comes with a trace context; ``spans`` are for the driver.

    On a machine with a process of its own, the services' own spans are collected, too, unless
    they have configured OpenTelemetry themselves: that is found out at the first call.
    """

    def __init__(self, *, machine: str, session: str, has_process: bool) -> None:
        self.spans = SpanBuffer()
        self._provider = TracerProvider(
            # The driver has decided which traces are sampled.
            sampler=ParentBased(ALWAYS_ON),
            resource=Resource(
                {
                    _names.MACHINE: machine,
                    _names.SESSION: session,
                    _names.HOST_NAME: platform.node(),
                    _names.PROCESS_ID: os.getpid(),
                }
            ),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(self.spans)
        self._tracer = self._provider.get_tracer(_names.SCOPE)
        self._is_global_due = has_process
        self.observer = CallSpans(self._tracer)
        """Observes the calls to other machines."""

    def trace(self, method: str, headers: Mapping[str, str]) -> CallSpan:
        """Begin the span of a call, which came with these ``headers``; in the loop."""
        if self._is_global_due:
            self._is_global_due = False
            if isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
                trace.set_tracer_provider(self._provider)
        caller = _names.PROPAGATOR.extract(headers, context=Context())
        name = _names.rpc_name(method)
        span = self._tracer.start_span(
            name,
            context=caller,
            kind=SpanKind.SERVER,
            attributes={_names.RPC_SYSTEM: "bigmachine", _names.RPC_METHOD: name},
        )
        return CallSpan(span, trace.set_span_in_context(span, caller))


class CallSpan:
    """The span of one call on its machine; see `rpc.server._call.CallSpan`."""

    def __init__(self, span: Span, within: Context) -> None:
        self._span = span
        self._within = within
        self._has_ended = False

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make it the current span of a thread or task."""
        token = context.attach(self._within)
        try:
            yield
        finally:
            context.detach(token)

    def end(self, outcome: str, error: BaseException | None = None) -> None:
        """End it; the first time counts."""
        if self._has_ended:
            return
        self._has_ended = True
        self._span.set_attribute(_names.OUTCOME, outcome)
        if error is not None:
            self._span.record_exception(error)
            set_error(self._span, error)
        self._span.end()
