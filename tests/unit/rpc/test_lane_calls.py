"""How calls over a lane end: counted, with their spans, and with nothing of them kept."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import inspect
import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import numpy as np
import pytest
import trio
from outcome import Error

import bigmachine as bm
from bigmachine.errors import UsageError
from bigmachine.rpc import dump_service
from bigmachine.rpc.client._pickled_call import PickledCall, pickle_call
from bigmachine.rpc.loop._tasks import TaskPool
from bigmachine.rpc.server._registry import Services
from bigmachine.rpc.server.calls._result_in_loop import ResultInLoop
from bigmachine.services._decorators import parallel
from tests.support.waiting import eventually
from tests.unit.rpc.test_lanes import client
from tests.unit.rpc.wires import call_over, run, services


class Work:
    def __init__(self) -> None:
        self.taken: Callable[[], object] = lambda: None
        self.before: Callable[[], object] = lambda: None
        self.result: Coroutine[Any, Any, None] | None = None

    def add(self, a: int, b: int) -> int:
        return a + b

    def loop_thread(self) -> tuple[int, int]:
        return trio.from_thread.run_sync(threading.get_ident), threading.get_ident()

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


@pytest.mark.parametrize("way", ["lane", "connection", "call"])
def test_thread_of_a_method_finds_the_loop(way: str) -> None:
    async def main() -> None:
        work = Work()
        async with client(work) as it:
            if way == "lane":
                await it.await_lane()
                loop, own = (await it.call("S.loop_thread")).unwrap()
            elif way == "connection":
                loop, own = await call_over(it.connection, "S.loop_thread", (), {})
            else:  # which unpickles services
                loop, own = await it.server.call_in_thread(work.loop_thread, name="f")
        assert loop == threading.get_ident() != own

    run(main)


class Parallel:
    def __init__(self) -> None:
        self.is_held, self.release = threading.Event(), threading.Event()

    def add(self, a: int, b: int) -> int:
        return a + b

    def hold(self) -> None:
        self.is_held.set()
        self.release.wait(60)

    @parallel
    def run(self) -> None:
        pass


@pytest.mark.parametrize("method", ["S.add", "S.run"])
def test_call_that_is_given_up_before_it_has_a_place_frees_its_lane(method: str) -> None:
    async def main() -> None:
        service, found = Parallel(), Services()
        found.add("S", service, pickled=dump_service("S", 1))  # for processes, of which none begins
        async with client(found, maxprocs=1) as it, trio.open_nursery() as nursery:
            await it.await_lane()
            [serving] = it.server._connections
            [lane] = serving._lanes.values()
            [thread] = [t for t in threading.enumerate() if t.native_id == lane.native_id]
            nursery.start_soon(call_over, it.connection, "S.hold", (), {})
            await eventually(service.is_held.is_set)
            nursery.start_soon(it.call, method)
            await eventually(it.server._pools.threads.has_queue)
            lane.end()
            await eventually(lambda: not thread.is_alive())
            assert not it.server._pools.threads.has_queue()
            service.release.set()

    run(main)


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
                it.server._pools.ledger.close()
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


class Many:
    """As many methods as a test may call for the first time."""


for number in range(1000):
    setattr(Many, f"m{number}", lambda self: None)


def refuse_unknown(services: Services) -> None:
    with pytest.raises(UsageError, match="no service 'Unknown'"):
        services.find("Unknown.method")


def find_method(services: Services, number: int) -> None:
    services.find(f"S.m{number}")


def keep_method(services: Services, number: int) -> None:
    """As `find` does when it has looked for a method while its service was still there."""
    services._methods[f"S.m{number}"] = METHOD


METHOD = services(Many()).find("S.m0")


@pytest.mark.parametrize(
    ("use", "meanwhile"),
    [
        (lambda services: services.calls, find_method),
        (lambda services: services.clear(), keep_method),
        (refuse_unknown, lambda services, number: services.add(f"S{number}", object())),
    ],
    ids=["all calls are listed", "a service is removed", "a method is looked for"],
)
def test_services_are_used_in_threads_of_lanes_and_in_the_loop(
    use: Callable[[Services], object], meanwhile: Callable[[Services, int], None]
) -> None:
    def do_meanwhile(frame: FrameType, event: str, arg: object) -> Any:
        """Do at each instruction of what runs what another thread might do there."""
        if frame.f_code.co_filename != Services.find.__code__.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event in ("line", "opcode"):  # Python 3.12 tells of lines alone, at first
            sys.settrace(None)
            meanwhile(installed, next(numbers))
            sys.settrace(do_meanwhile)
        return do_meanwhile

    installed, numbers = services(Many()), itertools.count(1)
    for _ in range(5):
        find_method(installed, next(numbers))
    sys.settrace(do_meanwhile)
    try:
        use(installed)
    finally:
        sys.settrace(None)
    assert next(numbers) > 10
