"""Tracing in one process of a machine: its own, or that of a parallel method."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import ProxyTracerProvider

from . import _names
from ._plain import Plain, to_plain


def new_provider(resource: Mapping[str, str], processor: SpanProcessor) -> TracerProvider:
    """Return a provider whose spans ``processor`` takes."""
    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_ON),  # the driver has decided which traces are sampled
        resource=Resource({**resource, _names.PROCESS_ID: os.getpid()}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    return provider


def set_global(provider: TracerProvider) -> None:
    """Have it make the spans of services, unless they have configured OpenTelemetry themselves."""
    if isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
        trace.set_tracer_provider(provider)


@contextlib.contextmanager
def trace_in_process(
    headers: Mapping[str, str], resource: Mapping[str, str], spans: list[Plain]
) -> Iterator[None]:
    """Make the context in ``headers`` current around a parallel method, in its process.

    The sampled spans that end meanwhile are added to ``spans``.
    """
    global _collector
    if _collector is None:
        _collector = _Collector()
        set_global(new_provider(resource, _collector))
    _collector.spans = spans
    token = context.attach(_names.PROPAGATOR.extract(headers, context=Context()))
    try:
        yield
    finally:
        context.detach(token)


class _Collector(SpanProcessor):
    """Adds ended spans to the list of the current call; a process has one call at a time."""

    spans: list[Plain]

    def on_end(self, span: ReadableSpan) -> None:
        if span.context.trace_flags.sampled:
            self.spans.append(to_plain(span))


_collector: _Collector | None = None
