"""Sessions that are not traced after all, spans that are lost, and calls by POST."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from trio.testing import wait_all_tasks_blocked

import bigmachine as bm
from bigmachine.machine.supervisor._spans import ReceivedSpans
from bigmachine.otel import OpenTelemetry, _buffer
from bigmachine.otel._buffer import SpanBuffer
from bigmachine.otel._machine import CallSpan, MachineTracer
from bigmachine.rpc import PostConnection, dump_headers, http_client, pickle_call
from bigmachine.testing import InProcessSystem
from tests.support.waiting import until
from tests.unit.otel.services import Work
from tests.unit.rpc.wires import DRIVER, MACHINE, serving


def test_session_without_provider_warns_once_and_works(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        bm.Session(InProcessSystem, plugins=[OpenTelemetry()]) as session,
    ):
        [machine] = session.start(1, services={"Work": Work()})
        assert machine.call("Work.add", 1, 2) == 3
    [record] = caplog.records
    assert "no TracerProvider of the OpenTelemetry SDK is set" in record.getMessage()


def test_machine_without_opentelemetry_works_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    observer = OpenTelemetry(provider)
    monkeypatch.setitem(sys.modules, "bigmachine.otel._machine", None)
    with bm.Session(InProcessSystem, plugins=[observer]) as session:
        [machine] = session.start(1, services={"Work": Work()})
        assert machine.call("Work.add", 1, 2) == 3
        until(lambda: len(caplog.records) >= 2)
    of_machine, of_driver = (record.getMessage() for record in caplog.records)
    assert of_machine.startswith("this machine can't trace calls: ")
    assert of_driver == "m0: its traces are missing: this machine does not trace calls"
    names = [span.name for span in exporter.get_finished_spans()]
    assert names.count("Work/add") == 1


def test_trace_that_is_not_sampled_has_no_spans_on_machines() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with bm.Session(InProcessSystem, plugins=[OpenTelemetry(provider)]) as session:
        [machine] = session.start(1, services={"Work": Work()})
        assert machine.call("Work.add", 1, 2) == 3
    assert exporter.get_finished_spans() == ()


def test_machine_keeps_its_latest_spans_and_its_driver_says_how_many_are_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Connection:
        async def call_supervisor(
            self, method: str, args: tuple[int, bool], kwargs: Mapping
        ) -> object:
            return await buffer.after(args[0], waits=args[1:] != (False,))

    async def main() -> None:
        nonlocal buffer
        buffer = SpanBuffer()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(buffer)
        for number in range(25):
            provider.get_tracer("t").start_span(str(number)).end()
        await received.catch_up(Connection())
        provider.get_tracer("t").start_span("last").end()
        await received.catch_up(Connection())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(received.ask, Connection())
            nursery.start_soon(received.ask, Connection())
            await wait_all_tasks_blocked()
            provider.get_tracer("t").start_span("asked for twice").end()
        assert (await buffer.after(27, waits=False)) == (27, [])

    buffer: SpanBuffer
    monkeypatch.setattr(_buffer, "MAX_SPANS", 10)
    monkeypatch.setattr(_buffer, "_BATCH", 3)
    names: list[str] = []
    received = ReceivedSpans("m0", take=lambda _, spans: names.extend(s["name"] for s in spans))
    trio.run(main)
    assert names == [*map(str, range(15, 25)), "last", "asked for twice"]
    [record] = caplog.records
    assert record.getMessage().startswith("m0: 15 spans of its traces are lost")


def test_context_of_call_by_post_is_in_its_http_headers() -> None:
    class Span:
        @contextmanager
        def current(self) -> Iterator[None]:
            seen.append("in")
            yield
            seen.append("out")

        def end(self, outcome: str, error: BaseException | None = None) -> None:
            seen.append((outcome, str(error)))

    def begin(method: str, headers: Mapping[str, str]) -> Span:
        seen.append((method, headers["traceparent"]))
        return Span()

    async def main() -> None:
        async with (
            serving(Work(), trace=begin) as (_, address),
            http_client(DRIVER) as http,
        ):
            post = PostConnection(http, base=f"https://{address}", addr="a", machine=MACHINE.name)
            call = pickle_call("S.fail", (), {})
            headers = dump_headers({"traceparent": "00-1-2-01"})
            outcome = await post.outcome(call._replace(headers=headers))
            assert isinstance(outcome.error, LookupError)

    seen: list[object] = []
    trio.run(main)
    assert seen == [("S.fail", "00-1-2-01"), "in", "out", ("raised", "no such row")]


def test_span_that_a_thread_and_the_loop_end_at_once_is_ended_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def end_too(frame: FrameType, event: str, arg: object) -> Any:
        """Do at an instruction of what runs what another thread might do there."""
        if frame.f_code is not CallSpan.end.__code__:
            return None
        frame.f_trace_opcodes = True
        left[0] -= event in ("line", "opcode")  # Python 3.12 tells of lines alone, at first
        if left[0] == 0:
            sys.settrace(None)
            span.end("cancelled")
        return end_too

    async def main() -> None:
        nonlocal left, span
        tracer = MachineTracer(machine="m0", session="s", has_process=False)
        for instruction in itertools.count(1):
            left, span = [instruction], tracer.trace("S.m", {})
            sys.settrace(end_too)
            try:
                span.end("returned")
            finally:
                sys.settrace(None)
            if left[0] > 0:  # it has fewer
                break
        assert instruction > 10

    left: list[int]
    span: CallSpan
    trio.run(main)
    assert not caplog.records  # the SDK tells of spans that are ended twice
