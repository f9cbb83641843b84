"""Lanes for calls of tasks, and lanes to the machine's loop."""

from __future__ import annotations

import functools
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
import trio
from outcome import Error, Outcome, Value

from bigmachine.errors import CallTimeout, RemoteError, UsageError
from bigmachine.rpc import ConnectionLost, LaneLost, loaded
from bigmachine.rpc._frames import Kind
from bigmachine.rpc.client._lane import TaskLane
from bigmachine.rpc.client._lanes import MAX_LANES, MAX_TASK_LANES
from bigmachine.rpc.client._pickled_call import pickle_call
from bigmachine.rpc.server.lanes._loop_lane import LoopLane
from bigmachine.rpc.server.lanes._thread_lane import ThreadLane
from tests.support.sockets import LANE
from tests.support.waiting import eventually
from tests.unit.rpc.test_lanes import Client, client
from tests.unit.rpc.wires import run


class Work:
    def __init__(self) -> None:
        self.over = threading.Event()
        self.events: list[str] = []
        self.held: list[str] = []

    def add(self, a: int, b: int) -> int:
        return a + b

    def where(self) -> str:
        return threading.current_thread().name

    def fail(self) -> None:
        raise LookupError("nothing here")

    def items(self) -> Iterator[int]:
        yield 1

    def hold(self) -> None:
        self.held.append(threading.current_thread().name)
        self.over.wait(60)

    def make(self, size: int) -> Any:
        return np.zeros(size, dtype=np.uint8)

    def size(self, data: Any) -> int:
        return len(data)

    async def anywhere(self) -> str:
        return "in the loop"

    async def fail_in_loop(self) -> None:
        raise LookupError("nothing here")

    async def items_in_loop(self) -> AsyncIterator[int]:
        while True:
            yield 1

    async def size_in_loop(self, data: Any) -> Any:
        return data[:0], len(data)

    async def wait(self) -> None:
        self.events.append("begun")
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.events.append("cancelled")
            raise


async def by_task(it: Client, method: str, *args: Any) -> Outcome[Any]:
    return await it.connection.outcome(pickle_call(method, args, {}))


async def by_thread(it: Client, method: str, *args: Any) -> Outcome[Any] | None:
    """Make the call over a lane, if there is one, in a thread."""
    call = pickle_call(method, args, {})
    return await trio.to_thread.run_sync(it.lanes.outcome, call, abandon_on_cancel=True)


async def await_task_lane(it: Client) -> None:
    """Return once a call of a task takes a lane."""

    async def takes_it() -> bool:
        outcome = await by_task(it, "S.where")
        return bool(loaded(outcome.unwrap()) == LANE)

    with trio.fail_after(60):
        while not await takes_it():
            await trio.sleep(0.001)


async def await_loop_lane(it: Client, *methods: str) -> None:
    """Return once a thread's call of an ``async def`` method takes a lane, as of these methods."""
    with trio.fail_after(60):
        while (outcome := await by_thread(it, "S.anywhere")) is None:
            await trio.sleep(0.001)
    assert outcome.unwrap() == "in the loop"
    assert any(isinstance(lane, LoopLane) for lane in served(it))
    for method in methods:
        it.lanes.runs_in_loop(method)


def served(it: Client) -> list[Any]:
    [serving] = it.server._connections
    return list(serving._lanes.values())


def test_call_of_a_task_takes_a_lane_once_calls_follow_each_other() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            assert loaded((await by_task(it, "S.where")).unwrap()) != LANE
            await await_task_lane(it)
            assert not it.connection.is_in_use
            [lane] = served(it)
            assert isinstance(lane, ThreadLane)
            it.lanes.idle_seconds = 0.01
            it.lanes._wanted.set()  # else it looks for idle ones in some seconds
            await eventually(lambda: not it.served)
            assert loaded((await by_task(it, "S.where")).unwrap()) != LANE

    run(main)


@pytest.mark.parametrize("size", [0, 1, 3_000, 40_000, 3 << 20])
def test_arguments_and_results_of_any_size_arrive(size: int) -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await await_task_lane(it)
            await await_loop_lane(it)
            lanes = served(it)
            array = loaded((await by_task(it, "S.make", size)).unwrap())
            assert array.nbytes == size
            assert loaded((await by_task(it, "S.size", array)).unwrap()) == size
            in_loop = await by_thread(it, "S.size_in_loop", array)
            if in_loop is None:  # the way of this method is known from now on
                in_loop = await by_thread(it, "S.size_in_loop", array)
            assert in_loop is not None
            assert in_loop.unwrap()[1] == size
            assert served(it) == lanes  # none has broken

    run(main)


def test_large_arguments_of_a_task_go_over_the_connection_in_turns_with_others() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await await_task_lane(it)
            for large in (b"x" * 100_000, np.zeros(1 << 20)):
                assert it.lanes.for_task(pickle_call("S.size", (large,), {})) is None
            lane = it.lanes.for_task(pickle_call("S.size", (b"x",), {}))
            assert isinstance(lane, TaskLane)
            it.lanes.put_back(lane)

    run(main)


def test_error_of_a_method_is_the_same_over_all_ways() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await await_task_lane(it)
            await await_loop_lane(it)
            await by_thread(it, "S.fail_in_loop")  # its way is known from now on
            for outcome in (
                await by_task(it, "S.fail"),
                await by_thread(it, "S.fail_in_loop"),
            ):
                assert isinstance(outcome, Error)
                with pytest.raises(LookupError, match="nothing here") as caught:
                    outcome.unwrap()
                assert isinstance(caught.value.__cause__, RemoteError)

    run(main)


def test_generator_is_refused_and_leaves_later_calls_their_results() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await await_task_lane(it)
            await await_loop_lane(it, "S.items_in_loop")
            for outcome in (
                await by_task(it, "S.items"),
                await by_thread(it, "S.items_in_loop"),
            ):
                assert outcome is not None
                with pytest.raises(UsageError, match="is a generator; call it with stream"):
                    outcome.unwrap()
            await eventually(lambda: not it.server.activity()[1])
            outcome = await by_thread(it, "S.anywhere")
            assert outcome is None or outcome.unwrap() == "in the loop"
            await await_task_lane(it)

    run(main)


def test_async_method_of_a_task_takes_the_connection_and_is_called_once() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await await_task_lane(it)
            for _ in range(3):
                assert loaded((await by_task(it, "S.anywhere")).unwrap()) == "in the loop"
            assert it.lanes.for_task(pickle_call("S.anywhere", (), {})) is None
            [calls] = [m for m in it.server.metrics() if m.name == "bigmachine_calls_begun"]
            assert calls.select(method="S.anywhere").sum == 3

    run(main)


def test_def_method_over_a_lane_to_the_loop_is_called_all_the_same() -> None:
    """What a client believes of a method may be old: the service may be another by now."""

    async def main() -> None:
        async with client(Work()) as it:
            await await_loop_lane(it, "S.add")
            outcome = await by_thread(it, "S.add", 1, 2)
            assert outcome is not None
            assert outcome.unwrap() == 3

    run(main)


def test_cancelled_task_gives_its_call_and_the_lane_up() -> None:
    async def main() -> None:
        work = Work()
        async with client(work, maxprocs=1) as it:
            await await_task_lane(it)
            [lane] = served(it)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(by_task, it, "S.hold")
                    await eventually(lambda: it.server.activity()[1])
                    scope.cancel()
            assert not it.lanes.is_in_use
            assert loaded((await by_task(it, "S.add", 1, 2)).unwrap()) == 3  # there is a place
            await eventually(lambda: lane not in served(it))
            work.over.set()
            await await_task_lane(it)

    run(main)


def test_thread_that_waits_no_longer_cancels_its_async_method() -> None:
    async def main() -> None:
        work = Work()
        async with client(work) as it:
            await await_loop_lane(it, "S.wait")
            [lane] = [each for each in served(it) if isinstance(each, LoopLane)]

            def time_left() -> float:
                if work.events:
                    raise CallTimeout("too late", addr="", method="S.wait", timeout=1.0)
                return 60.0

            call = pickle_call("S.wait", (), {})
            with pytest.raises(CallTimeout):
                await trio.to_thread.run_sync(it.lanes.outcome, call, time_left)
            await eventually(lambda: work.events == ["begun", "cancelled"])
            await eventually(lambda: lane not in served(it))

    run(main)


WAYS = {"S.hold": by_task, "S.wait": by_thread}


@pytest.mark.parametrize("method", WAYS)
@pytest.mark.parametrize("end", ["lane", "connection", "machine"])
def test_end_of_a_lane_ends_its_call_at_both_ends(method: str, end: str) -> None:
    async def main() -> None:
        work = Work()
        async with client(work) as it, trio.open_nursery() as nursery:
            await await_task_lane(it)
            await await_loop_lane(it, "S.wait")
            found: list[Any] = []

            async def call() -> None:
                found.append(await WAYS[method](it, method))

            nursery.start_soon(call)
            await eventually(lambda: any(list(lane.calls) for lane in served(it)))
            if end == "lane":
                for lane in served(it):
                    lane.end()
            elif end == "connection":
                it.connection._end()
            else:
                [serving] = it.server._connections
                serving._channel.close()
            await eventually(lambda: found)
            assert isinstance(found[0], Error)
            assert isinstance(found[0].error, LaneLost | ConnectionLost)
            if method == "S.wait":
                await eventually(lambda: work.events == ["begun", "cancelled"])
            work.over.set()
            await eventually(lambda: not it.server.activity()[1])

    run(main)


def test_machine_that_ends_cancels_calls_of_a_lane_to_its_loop() -> None:
    async def main() -> None:
        work = Work()
        async with client(work) as it, trio.open_nursery() as nursery:
            await await_loop_lane(it, "S.wait")
            nursery.start_soon(by_thread, it, "S.wait")
            await eventually(lambda: work.events == ["begun"])
            [metric] = [m for m in it.server.metrics() if m.name == "bigmachine_calls_in_flight"]
            assert metric.select(method="S.wait").sum == 1
            await it.server.end_calls(60, with_threads=True)
            assert work.events == ["begun", "cancelled"]
            await it.server.flush(60)
            it.connection._end()

    run(main)


def test_call_of_a_lane_that_has_just_ended_counts_as_one_that_is_cancelled() -> None:
    """Else the machine's teardown would begin while the method still cleans up."""

    async def main() -> None:
        work = Work()
        async with client(work) as it, trio.open_nursery() as nursery:
            await await_loop_lane(it, "S.wait")
            nursery.start_soon(by_thread, it, "S.wait")
            await eventually(lambda: work.events == ["begun"])
            [lane] = [each for each in served(it) if isinstance(each, LoopLane)]
            lane.end()
            assert it.server.activity()[1]
            await it.server.end_calls(60, with_threads=False)
            assert work.events == ["begun", "cancelled"]

    run(main)


def test_lane_that_breaks_while_a_task_waits_is_told_from_the_connection() -> None:
    async def main() -> None:
        work = Work()
        async with client(work) as it, trio.open_nursery() as nursery:
            await await_task_lane(it)
            found: list[Outcome[Any]] = []

            async def call() -> None:
                found.append(await by_task(it, "S.hold"))

            nursery.start_soon(call)
            await eventually(lambda: it.server.activity()[1])
            [lane] = served(it)
            lane._channel.send_control(Kind.ACK, 1)  # what no lane may say
            await eventually(lambda: found)
            with pytest.raises(LaneLost, match="a frame of kind 9 instead of a reply"):
                found[0].unwrap()
            work.over.set()
            assert loaded((await by_task(it, "S.add", 1, 2)).unwrap()) == 3

    run(main)


def test_lane_that_ended_while_it_was_idle_is_not_taken() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await await_task_lane(it)
            [lane] = it.lanes._of_tasks.free
            for each in served(it):
                each.end()
            await eventually(lambda: lane.has_ended)
            lane.used_at -= 1.0  # after a call, a lane is not checked for a while
            assert loaded((await by_task(it, "S.where")).unwrap()) != LANE
            await await_task_lane(it)

    run(main)


def test_lane_of_a_task_that_was_interrupted_before_it_could_close_it_ends() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await await_task_lane(it)
            lane = it.lanes.for_task(pickle_call("S.add", (1, 2), {}))
            assert lane is not None
            del lane
            gc.collect()
            await eventually(lambda: not it.served)
            assert not it.lanes.is_in_use

    run(main)


def test_many_calls_of_tasks_at_a_time_share_the_connection() -> None:
    async def main() -> None:
        work = Work()
        async with client(work, maxprocs=64) as it, trio.open_nursery() as nursery:
            await await_task_lane(it)
            for _ in range(50):
                nursery.start_soon(by_task, it, "S.hold")
            await eventually(lambda: len(work.held) == 50)
            work.over.set()
            assert work.held.count(LANE) <= MAX_TASK_LANES

    run(main)


def test_idle_lane_of_one_kind_makes_room_for_another_kind() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await it.await_lane()
            for _ in range(MAX_LANES - 1):
                await it.lanes._add(it.lanes._of_threads)
            assert len(it.lanes._all) == MAX_LANES
            await await_task_lane(it)
            assert len(it.lanes._all) == MAX_LANES
            await eventually(lambda: it.served == MAX_LANES)

    run(main)


def test_idle_lane_of_a_task_keeps_nothing_of_its_last_call() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await await_task_lane(it)
            outcome = await by_task(it, "S.make", 3 << 20)
            assert isinstance(outcome, Value)
            [lane] = it.lanes._of_tasks.free
            kept = functools.reduce(
                lambda found, one: found | {id(o) for o in gc.get_referents(one)},
                [lane, lane._decoder],
                set[int](),
            )
            frame = outcome.value._frame
            assert frame is not None
            assert not kept & {id(frame), *map(id, frame.buffers)}

    run(main)
