"""The spans of sessions and boots that come of events, as of machines that are VMs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import bigmachine as bm
from bigmachine.otel._session_spans import SessionSpans

VMS = [bm.Instance(f"m{n}.s", "10.0.0.1:7443", id=f"i-{n}", zone="eu-1a") for n in range(3)]


class Told:
    """Spans that have ended, and what makes them."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("t")
        self.job = self.tracer.start_span("job")
        self.spans = SessionSpans(trace.set_span_in_context(self.job, Context()))

    def __call__(self, *events: bm.Event) -> None:
        for event in events:
            self.spans.take(event, self.tracer)

    def ended(self) -> Iterator[ReadableSpan]:
        yield from self.exporter.get_finished_spans()
        self.exporter.clear()


@pytest.fixture
def told() -> Told:
    told = Told()
    told(bm.SessionOpened("s", "ec2"))
    return told


def changed(machine: str, state: bm.State, error: Exception | None = None) -> bm.MachineChanged:
    return bm.MachineChanged(machine, "https://10.0.0.1:7443#m0.s", state, error)


def test_each_phase_of_boot_is_a_span_from_the_request_to_running(told: Told) -> None:
    told(bm.MachinesRequested(3), bm.MachinesRequested(1))
    told(bm.MachinesStarted(1, (VMS[0],)), bm.MachinesStarted(3, tuple(VMS[1:])))
    for phase in ("boot", "identify", "upload"):
        told(bm.BootProgress("m0", phase, 0, 0, 0.0))
    told(bm.BootProgress("m0", "upload", 5, 10, 1.0), changed("m0", bm.State.RUNNING))
    *spans, boot = told.ended()
    phases = [span for span in spans if span.parent.span_id == boot.context.span_id]
    names = ["provision", "connect", "boot", "identify", "upload"]
    assert [span.name for span in phases] == [f"bigmachine boot: {name}" for name in names]
    assert all(a.end_time <= b.start_time for a, b in pairwise(phases))
    assert phases[0].start_time == boot.start_time
    assert dict(boot.attributes) == {
        "bigmachine.machine": "m0",
        "host.id": "i-0",
        "cloud.availability_zone": "eu-1a",
    }


def test_boot_that_failed_says_in_which_phase_and_why(told: Told) -> None:
    told(bm.MachinesRequested(1), bm.MachinesStarted(1, (VMS[0],)))
    told(bm.BootProgress("m0", "build", 0, 0, 0.0))
    told(changed("m0", bm.State.STOPPED, bm.BootError("no wheel\nat all", machine="m0")))
    *_, phase, boot = told.ended()
    for span in (phase, boot):
        assert (span.status.status_code.name, span.status.description) == ("ERROR", "no wheel")
        assert span.attributes["error.type"] == "BootError"
    assert phase.name == "bigmachine boot: build"


def test_what_happens_to_machines_later_is_told_by_the_sessions_span(told: Told) -> None:
    told(bm.MachinesRequested(1), bm.MachinesStarted(1, (VMS[0],)))
    told(changed("m0", bm.State.RUNNING))
    told(bm.MachineNotice("m0", "interruption", "in two minutes", None))
    told(bm.CostWarning(9.0, 10.0, 60.0))
    told(changed("m0", bm.State.STOPPED, bm.MachineStopped("gone", machine="m0")))
    told(bm.SessionClosed("s"))
    *_, session = told.ended()
    assert session.attributes == {"bigmachine.session": "s", "bigmachine.system": "ec2"}
    names = ["MachineNotice", "CostWarning", "MachineChanged", "SessionClosed"]
    assert [event.name for event in session.events] == names
    notice = session.events[0].attributes
    assert notice["bigmachine.kind"] == "interruption"
    assert "bigmachine.at" not in notice


def test_next_session_is_not_inside_the_one_before(told: Told) -> None:
    told(bm.SessionClosed("s"), bm.SessionOpened("t", "local"), bm.SessionClosed("t"))
    parents = [span.parent.span_id for span in told.ended()]
    assert parents == [told.job.get_span_context().span_id] * 2
