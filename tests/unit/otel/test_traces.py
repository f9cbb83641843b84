"""One trace of a real session: by the SDK's exporter in memory, and by OTLP to a real receiver."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import bigmachine as bm
from bigmachine.otel import OpenTelemetry
from tests.unit.otel.services import Work


class Receiver:
    """What an OpenTelemetry collector is to its clients: OTLP over HTTP, on loopback."""

    def __init__(self) -> None:
        self.requests = requests = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        self.requests: list[tuple[str, ExportTraceServiceRequest]] = requests
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Trace:
    """The spans of the session below, as they were exported when it had ended."""

    def __init__(self) -> None:
        self.receiver = Receiver()
        in_memory = InMemorySpanExporter()
        provider = TracerProvider(resource=Resource({"service.name": "a test"}))
        provider.add_span_processor(SimpleSpanProcessor(in_memory))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(self.receiver.url)))
        configured = propagate.get_global_textmap()
        propagate.set_global_textmap(CompositePropagator([]))  # machines may not know of it
        try:
            self._run(provider)
        finally:
            propagate.set_global_textmap(configured)
            provider.shutdown()
            self.receiver.close()
        self.spans = in_memory.get_finished_spans()

    def _run(self, provider: TracerProvider) -> None:
        tracer = provider.get_tracer("program")
        with tracer.start_as_current_span("job") as job:
            observer = OpenTelemetry(provider)
        with bm.Session("local", plugins=[observer]) as session:
            first, second = session.start(2, services={"Work": Work()})
            with tracer.start_as_current_span("step", trace.set_span_in_context(job)):
                assert first.call("Work.add", 1, 2) == 3
                future = first.submit("Work.relay", second.addr)
            assert future.result() == 3
            assert first.call("Work.add_async", 1, 2) == 3
            assert list(first.stream("Work.count", 2)) == [0, 1]
            assert list(first.stream("Work.count_async", 2)) == [0, 1]
            assert first.call("Work.square", 3) == 9
            with pytest.raises(LookupError):
                first.call("Work.fail")
            with pytest.raises(bm.CallTimeout):
                first.with_options(timeout=1.0).call("Work.forever")  # time to begin

    def named(self, name: str, kind: SpanKind | None = None) -> ReadableSpan:
        [span] = [s for s in self.spans if s.name == name and kind in (None, s.kind)]
        return span

    def way_to(self, span: ReadableSpan) -> list[str]:
        """The names from the root to a span."""
        above = {s.context.span_id: s for s in self.spans}
        way = [span.name]
        while span.parent is not None:
            span = above[span.parent.span_id]
            way.insert(0, span.name)
        return way


@pytest.fixture(scope="module")
def traced() -> Iterator[Trace]:
    return Trace()


def test_all_spans_are_one_trace_below_the_span_of_the_program(traced: Trace) -> None:
    assert len({span.context.trace_id for span in traced.spans}) == 1
    assert [span.name for span in traced.spans if span.parent is None] == ["job"]
    ways = [traced.way_to(span) for span in traced.spans]
    assert ways.count(["job", "bigmachine session", "bigmachine boot"]) == 2
    for phase in ("provision", "connect"):
        name = f"bigmachine boot: {phase}"
        assert ways.count(["job", "bigmachine session", "bigmachine boot", name]) == 2


def test_parent_of_call_is_callers_span_or_else_the_sessions(traced: Trace) -> None:
    step = traced.named("step").context.span_id
    client_spans = [span for span in traced.spans if span.kind is SpanKind.CLIENT]
    assert {s.name for s in client_spans if s.parent.span_id == step} == {"Work/add", "Work/relay"}
    call = traced.named("Work/add_async", SpanKind.CLIENT)
    assert traced.way_to(call) == ["job", "bigmachine session", "Work/add_async"]


def test_call_is_a_span_at_both_ends_with_the_methods_spans_inside(traced: Trace) -> None:
    client = traced.named("Work/add_async", SpanKind.CLIENT)
    server = traced.named("Work/add_async", SpanKind.SERVER)
    assert server.parent.span_id == client.context.span_id
    assert client.start_time <= server.start_time <= server.end_time <= client.end_time
    assert client.attributes["rpc.system.name"] == "bigmachine"
    assert client.attributes["rpc.method"] == server.attributes["rpc.method"] == "Work/add_async"
    assert client.attributes["server.address"] == "127.0.0.1"
    assert client.attributes["bigmachine.machine"] == "m0"
    assert client.attributes["bigmachine.sent_bytes"] > 0
    assert client.attributes["bigmachine.outcome"] == "returned"
    inner = traced.named("in async def")
    assert inner.parent.span_id == server.context.span_id
    assert (inner.attributes, inner.events[0].name) == ({"rows": 3}, "read")
    assert inner.instrumentation_scope.name == "service"


def test_spans_of_machine_have_its_resource_and_the_drivers(traced: Trace) -> None:
    server = traced.named("Work/add_async", SpanKind.SERVER).resource.attributes
    assert (server["service.name"], server["bigmachine.machine"]) == ("a test", "m0")
    assert server["process.pid"] > 0
    client = traced.named("Work/add_async", SpanKind.CLIENT).resource.attributes
    assert dict(client) == {"service.name": "a test"}


def test_call_between_machines_is_in_the_trace(traced: Trace) -> None:
    relay = ["job", "step", "Work/relay", "Work/relay", "Work/add", "Work/add"]
    [server] = [s for s in traced.spans if traced.way_to(s) == relay]
    assert server.resource.attributes["bigmachine.machine"] == "m1"
    [inner] = [s for s in traced.spans if traced.way_to(s) == [*relay, "in def"]]
    assert inner.resource.attributes["bigmachine.machine"] == "m1"


def test_generator_is_one_span_around_all_its_items(traced: Trace) -> None:
    for method, inside in (
        ("Work/count", "in generator"),
        ("Work/count_async", "in async generator"),
    ):
        server = traced.named(method, SpanKind.SERVER)
        children = [span for span in traced.spans if span.name == inside]
        assert [s.parent.span_id for s in children] == [server.context.span_id] * 2
        assert all(span.end_time <= server.end_time for span in children)
        client = traced.named(method, SpanKind.CLIENT)
        assert (client.attributes["bigmachine.items"], client.status.status_code.name) == (
            2,
            "UNSET",
        )


def test_spans_in_the_process_of_a_parallel_method_are_in_the_trace(traced: Trace) -> None:
    inner, server = traced.named("in process"), traced.named("Work/square", SpanKind.SERVER)
    assert inner.parent.span_id == server.context.span_id
    of_process, of_machine = inner.resource.attributes, server.resource.attributes
    assert of_process["process.pid"] != of_machine["process.pid"]
    assert of_process["bigmachine.machine"] == of_machine["bigmachine.machine"] == "m0"


def test_failed_call_says_why_at_both_ends(traced: Trace) -> None:
    client = traced.named("Work/fail", SpanKind.CLIENT)
    server = traced.named("Work/fail", SpanKind.SERVER)
    for span in (client, server):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "no such row"
        assert span.attributes["error.type"] == "LookupError"
        assert span.attributes["bigmachine.outcome"] == "raised"
    [event] = server.events
    assert event.name == "exception"
    assert "raise LookupError" in event.attributes["exception.stacktrace"]


def test_call_that_timed_out_was_cancelled_on_its_machine(traced: Trace) -> None:
    client = traced.named("Work/forever", SpanKind.CLIENT)
    assert client.attributes["bigmachine.outcome"] == "timeout"
    assert client.attributes["error.type"] == "CallTimeout"
    server = traced.named("Work/forever", SpanKind.SERVER)
    assert server.attributes["bigmachine.outcome"] == "cancelled"
    assert server.status.status_code is StatusCode.UNSET


def test_receiver_of_otlp_gets_the_same_spans_by_machine(traced: Trace) -> None:
    received = {}
    for path, request in traced.receiver.requests:
        assert path == "/v1/traces"
        for of_resource in request.resource_spans:
            attributes = {a.key: a.value for a in of_resource.resource.attributes}
            machine = (
                attributes["bigmachine.machine"].string_value
                if ("bigmachine.machine" in attributes)
                else ""
            )
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    received[span.span_id] = (span.name, span.trace_id, machine)
    assert received == {
        span.context.span_id.to_bytes(8): (
            span.name,
            span.context.trace_id.to_bytes(16),
            span.resource.attributes.get("bigmachine.machine", ""),
        )
        for span in traced.spans
    }


def test_no_span_is_current_in_the_program_afterwards(traced: Trace) -> None:
    assert not trace.get_current_span().get_span_context().is_valid
