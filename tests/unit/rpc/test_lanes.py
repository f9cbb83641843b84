"""Lanes at both ends: made when they are wanted, closed when idle, refused to strangers."""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import sys
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
import trio
from outcome import Error, Outcome, Value

from bigmachine.errors import ProtocolError
from bigmachine.rpc import ConnectionLost, FrameConnection, dial, http_client
from bigmachine.rpc._frames import Kind
from bigmachine.rpc._payload import dumps
from bigmachine.rpc.client._dial import _dial_lane
from bigmachine.rpc.client._lane import Lane, LaneKind
from bigmachine.rpc.client._lanes import Lanes
from bigmachine.rpc.client._pickled_call import pickle_call
from bigmachine.rpc.server._server import Server
from bigmachine.rpc.server.calls._result_in_loop import ResultInLoop
from bigmachine.rpc.server.lanes._served_lane import MAX_SERVED_LANES
from bigmachine.rpc.transport._lane_channel import LaneChannel, keep_alive
from bigmachine.rpc.transport._tls import TlsChannel
from tests.support.waiting import eventually
from tests.unit.rpc.wires import DRIVER, MACHINE, call_over, run, serving


class Work:
    def __init__(self) -> None:
        self.over = threading.Event()
        self.lane_thread: threading.Thread | None = None
        self.before: Callable[[], None] | None = None

    def add(self, a: int, b: int) -> int:
        return a + b

    def hold(self) -> None:
        self.over.wait(60)

    def wait_in_loop(self) -> Awaitable[None]:
        self.lane_thread = threading.current_thread()
        if self.before is not None:
            self.before()
        return trio.sleep_forever()

    def take(self, array: Any) -> None:
        while not isinstance(array, memoryview):
            array = array.base
        self.taken = weakref.ref(array.obj)


class Client:
    """A connection whose lanes a test uses and abuses."""

    def __init__(self, connection: FrameConnection, server: Server, http: Any, addr: str) -> None:
        self.connection = connection
        self.server = server
        self.lanes = connection.lanes or pytest.fail("it has no lanes")
        [self.token] = server._by_token
        self._http = http
        self._addr = addr

    async def call(self, method: str = "S.add", *args: Any) -> Outcome[Any] | None:
        call = pickle_call(method, args if method != "S.add" else (1, 2), {})
        return await trio.to_thread.run_sync(self.lanes.outcome, call)

    async def has_lane(self) -> bool:
        outcome = await self.call()
        assert outcome is None or outcome.unwrap() == 3
        return outcome is not None

    async def await_lane(self) -> None:
        while not await self.has_lane():
            await trio.sleep(0)

    async def dial(self, token: str, number: Any) -> LaneChannel:
        return LaneChannel(await _dial_lane(self._http, self._addr, token, number, False))

    @property
    def served(self) -> int:
        [serving] = self.server._connections
        return len(serving._lanes)


@contextlib.asynccontextmanager
async def client(service: object, **options: Any) -> AsyncIterator[Client]:
    async with (
        serving(service, **options) as (server, address),
        http_client(DRIVER) as http,
        dial(http, addr := f"https://{address}#{MACHINE.name}") as connection,
        trio.open_nursery() as nursery,
    ):
        assert isinstance(connection, FrameConnection)
        nursery.start_soon(connection.run)
        await call_over(connection, "S.add", (1, 2), {})
        yield Client(connection, server, http, addr)
        nursery.cancel_scope.cancel()


def test_connection_that_can_have_no_keepalives_is_served_all_the_same() -> None:
    one, other = socket.socketpair()  # of Unix, which refuses what TCP may refuse after a reset
    with one, other:
        keep_alive(one)


def test_lane_is_made_once_calls_follow_each_other_and_closed_when_idle() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            assert await it.call() is None
            await it.await_lane()
            assert it.served == 1
            assert not it.connection.is_in_use
            it.lanes.idle_seconds = 0.01
            it.lanes._wanted.set()  # else it looks for idle ones in some seconds
            await eventually(lambda: not it.served)
            await it.await_lane()

    run(main)


class Interruption:
    """A trace function that raises at an instruction of the code that asks for a lane."""

    def __init__(self, instruction: int) -> None:
        self._left = instruction

    def __call__(self, frame: FrameType, event: str, arg: object) -> Interruption | None:
        if frame.f_code.co_filename != Lanes._miss.__code__.co_filename:
            return None
        frame.f_trace_opcodes = True
        self._left -= event in ("line", "opcode")  # Python 3.12 tells of lines alone, at first
        if not self._left:
            sys.settrace(None)
            raise KeyboardInterrupt
        return self


def test_ctrl_c_at_any_moment_of_a_call_leaves_further_calls_their_lane() -> None:
    call = pickle_call("S.add", (1, 2), {})

    def is_interrupted(lanes: Lanes, instruction: int) -> bool:
        sys.settrace(Interruption(instruction))
        try:
            lanes.outcome(call)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    async def try_at(instruction: int) -> bool:
        async with trio.open_nursery() as nursery:
            dialled = trio.Event()

            async def dial(number: int, is_to_loop: bool) -> TlsChannel:
                dialled.set()
                raise OSError("it is enough that it was tried")

            lanes = Lanes(
                dial, give_up=lambda number: None, addr="", machine="", limit_bytes=1 << 20
            )
            nursery.start_soon(lanes.run)
            lanes.outcome(call)
            more = is_interrupted(lanes, instruction)
            for _ in range(2):  # the call that was interrupted may not count
                lanes.outcome(call)
            with trio.fail_after(60):
                await dialled.wait()
            nursery.cancel_scope.cancel()
        return more

    async def main() -> None:
        for instruction in itertools.count(1):
            if not await try_at(instruction):
                break
        assert instruction > 20

    trio.run(main)


class EndedLane(Lane):
    """A lane of which nothing is left to end."""

    has_ended = True

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "look_at_all",
    [
        pytest.param(Lanes.end, id="end"),
        pytest.param(lambda lanes: lanes._has_room(LaneKind(EndedLane)), id="count"),
    ],
)
def test_threads_close_their_lanes_at_any_moment(look_at_all: Callable[[Lanes], object]) -> None:
    async def main() -> None:
        lanes = Lanes(
            lambda number, is_to_loop: pytest.fail("none is wanted"),
            give_up=lambda number: None,
            addr="",
            machine="",
            limit_bytes=1,
        )
        each = [EndedLane(number=n, owner=lanes, kind=LaneKind(EndedLane)) for n in range(100)]
        lanes._of_threads.free.extend(each)  # type: ignore[arg-type]
        lanes._all.update({lane.number: lane for lane in each})

        def close_one(frame: FrameType, event: str, arg: object) -> Any:
            """Do at each line of what runs what another thread might do there."""
            if event == "line" and each:
                sys.settrace(None)
                lanes.close(each.pop())
                sys.settrace(close_one)
            return close_one

        sys.settrace(close_one)
        try:
            look_at_all(lanes)
        finally:
            sys.settrace(None)
        assert len(each) < 95

    trio.run(main)


class TakenMeanwhile(deque[Any]):
    """Free lanes that threads take, once somebody has asked whether there are any."""

    def __len__(self) -> int:
        count = super().__len__()
        self.clear()
        return count


def test_idle_lane_that_is_taken_as_it_is_to_be_closed_stays() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            kind = it.lanes._of_threads
            kind.free = TakenMeanwhile([EndedLane(number=1, owner=it.lanes, kind=kind)])
            it.lanes.idle_seconds = 0.0
            it.lanes._close_idle()

    run(main)


def test_call_of_a_lane_counts_as_one_in_flight_at_both_ends() -> None:
    async def main() -> None:
        work = Work()
        async with client(work) as it, trio.open_nursery() as nursery:
            await it.await_lane()
            begun, is_busy = it.server.activity()
            assert not is_busy
            nursery.start_soon(it.call, "S.hold")
            await eventually(lambda: it.server.activity() == (begun + 1, True))
            assert it.connection.is_in_use
            in_flight = {m.name: m for m in it.server.metrics()}["bigmachine_calls_in_flight"]
            assert in_flight.select(method="S.hold").sum == 1
            work.over.set()
            await eventually(lambda: not it.server.activity()[1])
            await eventually(lambda: not it.connection.is_in_use)
            [serving] = it.server._connections
            for lane in tuple(serving._lanes.values()):
                lane.end()
            assert it.server.activity() == (begun + 1, False)

    run(main)


@pytest.mark.parametrize("when", ["before it goes on in the loop", "then"])
def test_lane_that_ends_cancels_what_goes_on_in_the_loop(when: str) -> None:
    async def main() -> None:
        work = Work()
        async with client(work) as it, trio.open_nursery() as nursery:
            await it.await_lane()
            [serving] = it.server._connections
            [lane] = serving._lanes.values()
            if when != "then":
                token = trio.lowlevel.current_trio_token()
                work.before = lambda: trio.from_thread.run_sync(lane.end, trio_token=token)
            found: list[Any] = []

            async def call() -> None:
                found.append(await it.call("S.wait_in_loop"))

            nursery.start_soon(call)
            if when == "then":
                await eventually(lambda: isinstance(lane.call and lane.call._work, ResultInLoop))
                lane.end()
            await eventually(lambda: found)
            assert isinstance(found[0], Error)
            thread = work.lane_thread
            assert thread is not None
            await eventually(lambda: not thread.is_alive())
            await eventually(lambda: not it.server.activity()[1])

    run(main)


def test_machine_that_ends_cancels_calls_of_lanes_and_answers_no_more() -> None:
    async def main() -> None:
        work = Work()
        async with client(work) as it, trio.open_nursery() as nursery:
            await it.await_lane()
            found: list[Any] = []

            async def call(*call: Any) -> None:
                found.append(await it.call(*call))

            nursery.start_soon(call, "S.hold")
            await eventually(lambda: it.server.activity()[1])
            await it.server.end_calls(0.01, with_threads=True)
            nursery.start_soon(call)
            work.over.set()
            with trio.move_on_after(0.05):
                await eventually(lambda: found)
            assert found in ([], [None])  # the second call finds no free lane
            it.connection._end()  # as when the machine's process has ended
            await eventually(lambda: len(found) == 2)
            assert all(outcome is None or isinstance(outcome, Error) for outcome in found)

    run(main)


def test_machine_without_services_as_it_ends_says_of_no_call_that_it_is_wrong() -> None:
    async def main() -> None:
        async with client(Work()) as it, trio.open_nursery() as nursery:
            await it.await_lane()
            found: list[Any] = []

            async def call_by(way: Callable[[], Awaitable[Any]]) -> None:
                found.append(await way())

            await it.server.end_calls(0.01, with_threads=True)
            it.server.services.clear()
            nursery.start_soon(call_by, it.call)
            call = pickle_call("S.add", (1, 2), {})
            nursery.start_soon(call_by, functools.partial(it.connection.outcome, call))
            with trio.move_on_after(0.05):
                await eventually(lambda: found)
            assert not found
            it.connection._end()  # as when the machine's process has ended
            await eventually(lambda: len(found) == 2)
            assert all(isinstance(outcome.error, ConnectionLost) for outcome in found)

    run(main)


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "9" * 20, "1 2", "x"])
def test_lane_with_a_bad_number_is_refused(number: str) -> None:
    async def main() -> None:
        async with client(Work()) as it:
            with pytest.raises(ProtocolError, match="has no lane for us"):
                await it.dial(it.token, number)

    run(main)


def test_lane_of_another_connection_is_refused() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            for token in ("0" * 32, it.token[:-1]):
                with pytest.raises(ProtocolError, match="has no lane for us"):
                    await it.dial(token, 1)
            [serving] = it.server._connections
            serving.peer = "somebody.else"
            with pytest.raises(ProtocolError, match="has no lane for us"):
                await it.dial(it.token, 1)

    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="asks for a stack that is too large")
def test_lane_is_refused_when_no_thread_can_be_started() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            before = threading.stack_size(1 << 46)
            try:
                with pytest.raises(ProtocolError, match="has no lane for us"):
                    await it.dial(it.token, 1)
            finally:
                threading.stack_size(before)
            assert not it.served
            (await it.dial(it.token, 1)).close()  # it was not made, so the number is free

    run(main)


def test_lanes_of_a_connection_are_bounded_and_end_with_it() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            lanes = [await it.dial(it.token, n + 1) for n in range(MAX_SERVED_LANES)]
            for number in (1, MAX_SERVED_LANES + 1):
                with pytest.raises(ProtocolError, match="has no lane for us"):
                    await it.dial(it.token, number)
            lanes.pop().close()
            await eventually(lambda: it.served == MAX_SERVED_LANES - 1)
            lanes.append(await it.dial(it.token, MAX_SERVED_LANES + 1))
            [serving] = it.server._connections
            serving._channel.close()
            for lane in lanes:
                assert await trio.to_thread.run_sync(lane.receive) is None
                lane.close()

    run(main)


def test_lane_is_aborted_though_whoever_closes_it_was_interrupted() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            channel = await it.dial(it.token, 1)
            with channel._closing:
                channel.abort()  # it does not wait: who has the lock ends it
            channel.abort()
            assert await trio.to_thread.run_sync(channel.receive) is None
            channel.close()

    run(main)


NOTHING = dumps(((), {}))
BREACHES: dict[str, Callable[[LaneChannel], None]] = {
    "a reply": lambda lane: lane.send_message(Kind.REPLY, 1, NOTHING),
    "a cancellation": lambda lane: lane.send_control(Kind.CANCEL, 1),
    "an acknowledgement": lambda lane: lane.send_control(Kind.ACK, 1),
    "an unknown frame": lambda lane: lane.send_control(99, 1),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("breach", BREACHES)
def test_lane_whose_client_breaks_the_protocol_is_closed(
    breach: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with client(Work()) as it:
            lane = await it.dial(it.token, 1)
            BREACHES[breach](lane)
            assert await trio.to_thread.run_sync(lane.receive) is None
            await eventually(lambda: not it.served)
            assert (await call_over(it.connection, "S.add", (1, 2), {})) == 3
            lane.close()

    run(main)
    assert "its peer broke the protocol" in caplog.text


def test_idle_lane_keeps_nothing_of_its_last_call() -> None:
    async def main() -> None:
        work = Work()
        async with client(work) as it:
            it.lanes.idle_seconds = 3600.0
            await it.await_lane()
            outcome = await it.call("S.take", np.zeros(1 << 20))
            assert isinstance(outcome, Value)
            await eventually(lambda: work.taken() is None)

    run(main)


def test_messages_of_any_size_pass_a_lane() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await it.await_lane()
            for size in (1, 3_000, 10_000, 20_000, 40_000):  # its first buffer takes 2,048
                call = pickle_call("S.add", (b"x" * size, b"y" * size), {})
                with trio.fail_after(60):
                    outcome = await trio.to_thread.run_sync(
                        it.lanes.outcome, call, abandon_on_cancel=True
                    )
                assert outcome is not None
                assert outcome.unwrap() == b"x" * size + b"y" * size

    run(main)


def test_server_that_ends_leaves_no_thread_of_a_lane() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await it.await_lane()
            await it.dial(it.token, 100)

    run(main)  # it looks for such threads


def test_what_a_lane_has_carried_counts_as_traffic() -> None:
    async def main() -> None:
        async with client(Work()) as it:
            await it.await_lane()

            def received() -> float:
                metrics = {metric.name: metric for metric in it.server.metrics()}
                return metrics["bigmachine_received_bytes"].sum

            before = received()
            call = pickle_call("S.add", (b"x" * (1 << 20), b"y" * (1 << 20)), {})
            outcome = await trio.to_thread.run_sync(it.lanes.outcome, call)
            assert isinstance(outcome, Value)
            assert received() - before > 2 << 20

    run(main)
