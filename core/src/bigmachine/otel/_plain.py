"""Spans as plain data, to go from a machine to its driver, and back to spans there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

Plain = dict[str, Any]  # Any: whatever attributes hold


def to_plain(span: ReadableSpan) -> Plain:
    """Return a span as plain data; of its resource, what is particular to its machine."""
    scope = span.instrumentation_scope
    return {
        "name": span.name,
        "context": _context_to_plain(span.context),
        "parent": _context_to_plain(span.parent),
        "kind": span.kind.name,
        "start": span.start_time,
        "end": span.end_time,
        "attributes": dict(span.attributes or {}),
        "events": [(e.name, e.timestamp, dict(e.attributes or {})) for e in span.events],
        "links": [(_context_to_plain(x.context), dict(x.attributes or {})) for x in span.links],
        "status": (span.status.status_code.name, span.status.description),
        "resource": dict(span.resource.attributes),
        "scope": (scope.name, scope.version, scope.schema_url) if scope is not None else None,
    }


def from_plain(plain: Mapping[str, Any], resource: Resource) -> ReadableSpan:
    """Return the span that `to_plain` was given; ``resource`` is what all machines share."""
    code, description = plain["status"]
    links = ((_context(context), attributes) for context, attributes in plain["links"])
    return ReadableSpan(
        name=plain["name"],
        context=_context(plain["context"]),
        parent=_context(plain["parent"]),
        resource=resource.merge(Resource(plain["resource"])),
        kind=SpanKind[plain["kind"]],
        start_time=plain["start"],
        end_time=plain["end"],
        attributes=plain["attributes"],
        events=[Event(name, attributes, at) for name, at, attributes in plain["events"]],
        links=[Link(context, attributes) for context, attributes in links if context is not None],
        status=Status(StatusCode[code], description),
        instrumentation_scope=InstrumentationScope(*plain["scope"]) if plain["scope"] else None,
    )


def _context_to_plain(context: SpanContext | None) -> tuple[int, int, bool, int, str] | None:
    if context is None:
        return None
    flags, state = int(context.trace_flags), context.trace_state.to_header()
    return context.trace_id, context.span_id, context.is_remote, flags, state


def _context(plain: tuple[int, int, bool, int, str] | None) -> SpanContext | None:
    if plain is None:
        return None
    trace_id, span_id, is_remote, flags, state = plain
    return SpanContext(
        trace_id,
        span_id,
        is_remote=is_remote,
        trace_flags=TraceFlags(flags),
        trace_state=TraceState.from_header([state]),
    )
