"""Calls that arrive with a trace context: each is a span on the machine, around its method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..._frames import Frame, Kind, Payload
from ..._headers import load_headers
from ..._protocol import STATUS_RAISED
from .._registry import Method
from ..pools._call_span import CallSpan, Trace
from ._call import Call
from ._connection_call import ConnectionCall
from ._framed_call import FramedCall
from ._lane_call import LaneCall
from ._post_call import PostCall


class _TracedCall(Call):
    """What all kinds share: the span is current where the method runs."""

    span: CallSpan
    _error: BaseException | None = None

    def cancel(self) -> None:
        self.span.end("cancelled")
        super().cancel()

    def raised(self, exc: BaseException) -> Callable[[], None]:
        self._error = exc
        return super().raised(exc)  # type: ignore[safe-super]  # the other base class's

    def _end_span(self, outcome: str) -> None:
        # Not kept: its frames have the call and its arguments.
        error, self._error = self._error, None
        self.span.end(outcome, error)

    @property
    def process_tracing(self) -> CallSpan:
        return self.span

    def _run_in_thread(self) -> Callable[[], None]:
        with self.span.current():
            return super()._run_in_thread()

    async def _run_async(self, begin: Callable[[], Any]) -> None:
        with self.span.current():
            await super()._run_async(begin)


class _TracedFramedCall(_TracedCall, FramedCall):
    """What both kinds of those share whose frame has headers."""

    def __init__(self, method: Method, frame: Frame, *args: Any, trace: Trace, **rest: Any) -> None:
        super().__init__(method, frame, *args, **rest)  # type: ignore[arg-type]  # the same
        self.span = trace(self.method.name, load_headers(frame.headers))

    def _finish(self, kind: int, payload: Payload) -> None:
        self._end_span("raised" if kind == Kind.ERROR else "returned")
        super()._finish(kind, payload)  # type: ignore[safe-super]  # the other base class's


class TracedConnectionCall(_TracedFramedCall, ConnectionCall):
    """A `ConnectionCall` whose frame has headers."""

    def end_stream(self, error: Payload | None) -> None:
        if error is None:
            self.span.end("returned")
        super().end_stream(error)


class TracedLaneCall(_TracedFramedCall, LaneCall):
    """A `LaneCall` whose frame has headers."""


class TracedPostCall(_TracedCall, PostCall):
    """A `PostCall` of a request with other headers than ours."""

    def __init__(self, *args: Any, trace: Trace, headers: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.span = trace(self.method.name, headers)

    def _finish(self, status: int, body: bytes) -> None:
        self._end_span("raised" if status == STATUS_RAISED else "returned")
        super()._finish(status, body)
