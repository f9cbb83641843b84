"""The spans that have ended on a machine, until its driver has them."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterable

import trio
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from ._plain import Plain, to_plain

MAX_SPANS = 10_000
"""How many ended spans wait for the driver; beyond that, the oldest are lost."""

_BATCH = 1000  # spans in one reply
_BATCH_SECONDS = 0.1  # how long a reply waits for more: a span each would double the calls


class SpanBuffer(SpanProcessor):
    """Keeps ended spans, numbered from 0, for `after`. Made in the machine's loop."""

    def __init__(self) -> None:
        self._spans: deque[Plain] = deque()
        self._first = 0  # the number of the first that is kept
        self._lock = threading.Lock()
        self._token = trio.lowlevel.current_trio_token()
        self._awaited: trio.Event | None = None

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span; in any thread."""
        if not span.context.trace_flags.sampled:
            return
        self.add([to_plain(span)])

    def add(self, spans: Iterable[Plain]) -> None:
        """Keep spans; in any thread."""
        with self._lock:
            self._spans.extend(spans)
            while len(self._spans) > MAX_SPANS:
                self._spans.popleft()
                self._first += 1
            awaited, self._awaited = self._awaited, None
        if awaited is not None:
            with contextlib.suppress(trio.RunFinishedError):  # an in-process machine has ended
                self._token.run_sync_soon(awaited.set)

    async def after(self, taken: int, *, waits: bool = True) -> tuple[int, list[Plain]]:
        """Return the number of the first span from ``taken`` on, and so many spans as it has.

        Those before ``taken`` are forgotten. If it ``waits``, there is at least one.
        """
        spans = self._after(taken)
        while waits and not spans:
            with self._lock:
                if self._awaited is None:
                    self._awaited = trio.Event()
                awaited = self._awaited
            if not (spans := self._after(taken)):
                await awaited.wait()
                await trio.sleep(_BATCH_SECONDS)
                spans = self._after(taken)
        return self._first, spans

    def _after(self, taken: int) -> list[Plain]:
        with self._lock:
            while self._spans and self._first < taken:
                self._spans.popleft()
                self._first += 1
            return [*self._spans][:_BATCH]
