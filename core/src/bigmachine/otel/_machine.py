"""Traces the calls that a machine serves, and those that it makes."""

from __future__ import annotations

import contextlib
import functools
import platform
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from . import _names
from ._buffer import SpanBuffer
from ._calls import CallSpans, set_error
from ._plain import Plain
from ._process import new_provider, set_global, trace_in_process


class MachineTracer:
    """Makes a span of each call that comes with a trace context; ``spans`` are for the driver.

    On a machine with a process of its own, the services' own spans are collected, too, unless
    they have configured OpenTelemetry themselves: that is found out at the first call.
    """

    def __init__(self, *, machine: str, session: str, has_process: bool) -> None:
        self.spans = SpanBuffer()
        self.resource = {
            _names.MACHINE: machine,
            _names.SESSION: session,
            _names.HOST_NAME: platform.node(),
        }
        self._provider = new_provider(self.resource, self.spans)
        self._tracer = self._provider.get_tracer(_names.SCOPE)
        self._is_global_due = has_process
        self.observer = CallSpans(self._tracer)
        """Observes the calls to other machines."""

    def trace(self, method: str, headers: Mapping[str, str]) -> CallSpan:
        """Begin the span of a call, which came with these ``headers``; in the loop."""
        if self._is_global_due:
            self._is_global_due = False
            set_global(self._provider)
        caller = _names.PROPAGATOR.extract(headers, context=Context())
        name = _names.rpc_name(method)
        span = self._tracer.start_span(
            name,
            context=caller,
            kind=SpanKind.SERVER,
            attributes={_names.RPC_SYSTEM: "bigmachine", _names.RPC_METHOD: name},
        )
        return CallSpan(span, trace.set_span_in_context(span, caller), self)


class CallSpan:
    """The span of one call on its machine; see `rpc.server.pools._call_span.CallSpan`."""

    def __init__(self, span: Span, within: Context, tracer: MachineTracer) -> None:
        self._span = span
        self._within = within
        self._tracer = tracer
        self._ending = threading.Lock()  # taken for good: a thread and the loop may end it at once

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make it the current span of a thread or task."""
        token = context.attach(self._within)
        try:
            yield
        finally:
            context.detach(token)

    def in_process(self) -> Callable[[list[Plain]], AbstractContextManager[None]]:
        """Return what traces a parallel method in its process."""
        headers: dict[str, str] = {}
        _names.PROPAGATOR.inject(headers, self._within)
        return functools.partial(trace_in_process, headers, self._tracer.resource)

    def absorb(self, spans: list[Plain]) -> None:
        """Take the spans that have ended there."""
        self._tracer.spans.add(spans)

    def end(self, outcome: str, error: BaseException | None = None) -> None:
        """End it; the first time counts."""
        if not self._ending.acquire(blocking=False):
            return
        self._span.set_attribute(_names.OUTCOME, outcome)
        if error is not None:
            self._span.record_exception(error)
            set_error(self._span, error)
        self._span.end()
