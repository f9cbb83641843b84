"""The spans of calls where they are made: on the driver, and on machines that call others."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from .._events import CallEnded, CallStarted
from ..system import hookimpl
from . import _names


class CallSpans:
    """An observer that makes a span of each call and sends its context along.

    The span that is current for the caller is its parent; if there is none, ``parent`` says which.
    """

    def __init__(
        self, tracer: Tracer, *, parent: Callable[[], Context | None] = lambda: None
    ) -> None:
        self.tracer = tracer
        """Makes the spans."""
        self._parent = parent
        self._spans: dict[int, Span] = {}

    @hookimpl
    def call_started(self, call: CallStarted) -> dict[str, str]:
        """Start its span; return the context of that."""
        has_parent = trace.get_current_span().get_span_context().is_valid
        where = urlsplit(call.addr)
        span = self.tracer.start_span(
            _names.rpc_name(call.method),
            context=None if has_parent else self._parent(),
            kind=SpanKind.CLIENT,
            attributes={
                _names.RPC_SYSTEM: "bigmachine",
                _names.RPC_METHOD: _names.rpc_name(call.method),
                _names.SERVER_ADDRESS: where.hostname or "",
                _names.SERVER_PORT: where.port or 0,
                _names.MACHINE: call.machine,
                _names.SENT_BYTES: call.sent_bytes,
            },
        )
        self._spans[call.number] = span
        headers: dict[str, str] = {}
        _names.PROPAGATOR.inject(headers, trace.set_span_in_context(span))
        return headers

    @hookimpl
    def call_ended(self, call: CallEnded) -> None:
        """End its span."""
        if (span := self._spans.pop(call.number, None)) is None:
            return
        span.set_attribute(_names.OUTCOME, call.outcome)
        span.set_attribute(_names.RECEIVED_BYTES, call.received_bytes)
        if call.items is not None:
            span.set_attribute(_names.ITEMS, call.items)
        if call.attempts > 1:
            span.set_attribute(_names.ATTEMPTS, call.attempts)
        if call.error is not None:
            set_error(span, call.error)
        span.end()


def set_error(span: Span, error: BaseException) -> None:
    """Mark a span as failed by ``error``."""
    span.set_attribute(_names.ERROR_TYPE, type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR, str(error).partition("\n")[0]))
