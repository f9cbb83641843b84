"""A service whose calls are traced, with spans of its own; light, as machines import it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import trio
from opentelemetry import trace

import bigmachine as bm


def inner(name: str) -> None:
    with trace.get_tracer("service").start_as_current_span(name, attributes={"rows": 3}) as span:
        span.add_event("read", {"first": 1})


class Work:
    def setup(self, session: bm.PeerSession) -> None:
        self.session = session

    def add(self, a: int, b: int) -> int:
        inner("in def")
        return a + b

    async def add_async(self, a: int, b: int) -> int:
        inner("in async def")
        await trio.lowlevel.checkpoint()
        return a + b

    def fail(self) -> None:
        raise LookupError("no such row")

    def relay(self, addr: str) -> int:
        return self.session.connect(addr).call("Work.add", 1, 2)

    def count(self, n: int) -> Iterator[int]:
        for i in range(n):
            inner("in generator")
            yield i

    async def count_async(self, n: int) -> AsyncIterator[int]:
        for i in range(n):
            inner("in async generator")
            yield i

    @bm.parallel
    def square(self, n: int) -> int:
        inner("in process")
        return n * n

    async def forever(self) -> None:
        await trio.sleep_forever()
