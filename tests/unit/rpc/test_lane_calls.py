"""How calls over a lane end: counted, with their spans, and with nothing of them kept."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import inspect
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import trio
from outcome import Error

import bigmachine as bm
from bigmachine.rpc._tasks import TaskPool
from bigmachine.rpc.client._pickled_call import PickledCall, pickle_call
from bigmachine.rpc.server._result_in_loop import ResultInLoop
from tests.support.waiting import eventually
from tests.unit.rpc.test_lanes import client
from tests.unit.rpc.wires import run


class Work:
    def __init__(self) -> None:
        self.taken: Callable[[], object] = lambda: None
        self.before: Callable[[], object] = lambda: None
        self.result: Coroutine[Any, Any, None] | None = None

    def add(self, a: int, b: int) -> int:
        return a + b

    def take_and_fail(self, array: Any) -> None:
        while not isinstance(array, memoryview):
            array = array.base
        self.taken = weakref.ref(array.obj)
        raise LookupError

    @bm.exclusive
    def wait_alone(self) -> Coroutine[Any, Any, None]:
        self.before()
        self.result = trio.sleep_forever()
        return self.result


class NoticedLock:
    """A lock that tells when somebody waits for it."""

    def __init__(self) -> None:
        self.is_wanted = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.is_wanted.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_call_that_is_just_beginning_as_its_lane_ends_counts() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await it.await_lane()
            before, _ = it.server.activity()
            [serving] = it.server._connections
            [lane] = serving._lanes.values()
            lane._lock = lock = NoticedLock()  # type: ignore[assignment]
            is_beginning = threading.Event()

            def begin() -> None:
                with lock:  # as the lane's thread does, which has looked whether the lane has ended
                    is_beginning.set()
                    lock.is_wanted.wait(60)
                    lane.begun += 1

            thread = threading.Thread(target=begin)
            thread.start()
            is_beginning.wait(60)
            lane.end()
            thread.join()
            assert it.server.activity() == (before + 1, False)

    run(main)


@dataclasses.dataclass
class Span:
    """What has become of a traced call."""

    method: str
    ends: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    current = staticmethod(contextlib.nullcontext)

    def end(self, outcome: str, error: BaseException | None = None) -> None:
        self.ends.append((outcome, repr(error)))


def traced(method: str, *args: object) -> PickledCall:
    return pickle_call(method, args, {})._replace(headers=b'{"traceparent": "00-1-2-01"}')


@pytest.mark.parametrize("why", ["its lane ends", "the machine ends"])
def test_span_of_call_that_never_begins_is_ended(why: str) -> None:
    async def main() -> None:
        spans: list[Span] = []

        def trace(method: str, headers: object) -> Span:
            spans.append(Span(method))
            if why == "its lane ends":
                lane._has_ended = True  # as the loop does at any moment
            else:
                it.server._pools.is_closed = True
            return spans[0]

        async with client(Work(), trace=trace) as it, trio.open_nursery() as nursery:
            await it.await_lane()
            [serving] = it.server._connections
            [lane] = serving._lanes.values()
            before = it.server.activity()
            call = traced("S.add", 1, 2)
            nursery.start_soon(trio.to_thread.run_sync, it.lanes.outcome, call)
            await eventually(lambda: spans and spans[0].ends)
            assert spans == [Span("S.add", [("cancelled", "None")])]
            assert it.server.activity() == before
            it.connection._end()

    run(main)


def test_traced_call_that_raises_keeps_no_arguments() -> None:
    async def main() -> None:
        spans: list[Span] = []

        def trace(method: str, headers: object) -> Span:
            spans.append(Span(method))
            return spans[-1]

        work = Work()
        async with client(work, trace=trace) as it:
            await it.await_lane()
            gc.disable()
            try:
                call = traced("S.take_and_fail", np.zeros(1 << 20))
                outcome = await trio.to_thread.run_sync(it.lanes.outcome, call)
                assert isinstance(outcome, Error)
                await eventually(lambda: work.taken() is None)
            finally:
                gc.enable()
            assert spans == [Span("S.take_and_fail", [("raised", "LookupError()")])]

    run(main)


def test_result_that_is_cancelled_while_it_waits_for_its_turn_is_closed() -> None:
    async def main() -> None:
        work = Work()
        async with client(work) as it, trio.open_nursery() as nursery:
            await it.await_lane()
            [serving] = it.server._connections
            [lane] = serving._lanes.values()
            gate = it.server.services.find("S.wait_alone").exclusive
            assert gate is not None
            work.before = lambda: gate.enter(lambda: None)  # once the method has returned
            nursery.start_soon(it.call, "S.wait_alone")
            await eventually(
                lambda: isinstance(lane.call and lane.call._work, ResultInLoop) and gate.has_queue
            )
            lane.end()
            await eventually(lambda: not it.server.activity()[1])
            assert work.result is not None
            assert inspect.getcoroutinestate(work.result) == inspect.CORO_CLOSED

    run(main)


def test_result_that_is_cancelled_before_its_first_step_is_closed() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            coroutine = trio.sleep_forever()
            result = ResultInLoop(coroutine, TaskPool(nursery).start(lambda: coroutine))
            result.cancel()
            assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
            await eventually(lambda: result.has_ended)
            nursery.cancel_scope.cancel()

    run(main)
