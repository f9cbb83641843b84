"""What becomes of a call over a lane when its caller, its machine or its session ends."""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
import os
import pickle
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import bigmachine as bm
from bigmachine.machine._portal import Portal
from bigmachine.machine.output._handle_record import handle_record
from bigmachine.rpc.client._lanes import Lanes
from bigmachine.rpc.transport._lane_channel import LaneChannel
from bigmachine.testing import InProcessOptions
from tests.support.interruption import Interruption
from tests.support.sockets import LANE, SocketSystem, Where, await_lane, has_lane
from tests.support.waiting import until

LONG = 60.0
begun, over = threading.Event(), threading.Event()  # in-process machines share this module


class Holder(Where):
    def setup(self, session: bm.PeerSession) -> None:
        self.running: list[str] = []

    def hold(self) -> str:
        name = threading.current_thread().name
        self.running.append(name)
        begun.set()
        over.wait(10 * LONG)
        self.running.remove(name)
        return name

    @bm.concurrent
    def where_held(self) -> list[str]:
        return self.running

    def pid(self) -> int:
        return os.getpid()

    def keep_weakly(self, data: bytearray | memoryview) -> None:
        self.data = weakref.ref(memoryview(data).obj)

    def is_kept(self) -> bool:
        return self.data() is not None


@pytest.fixture
def system() -> SocketSystem:
    return SocketSystem(InProcessOptions(maxprocs=1))


@pytest.fixture
def session(system: SocketSystem) -> Iterator[bm.Session]:
    begun.clear()
    over.clear()
    with bm.Session(system) as session:
        yield session
        over.set()


@pytest.fixture
def machine(session: bm.Session) -> bm.Machine:
    [machine] = session.start(1, services={"H": Holder(), "Where": Where()})
    await_lane(machine)
    return machine


def lanes(machine: bm.Machine) -> Lanes:
    connection = machine._calls._controller.connection
    assert connection is not None
    assert connection.lanes is not None
    return connection.lanes


@pytest.fixture
def held(machine: bm.Machine) -> Iterator[concurrent.futures.Future[Any]]:
    """A call that waits, over a lane."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(machine.call, "H.hold")
        until(lambda: lanes(machine).is_in_use)  # else the next call may take the only lane
        until(lambda: machine.call("H.where_held") == [LANE])
        try:
            yield future
        finally:
            over.set()


Held = concurrent.futures.Future[Any]


def test_call_over_a_lane_returns_when_its_method_does(machine: bm.Machine, held: Held) -> None:
    over.set()
    assert held.result(LONG) == LANE


def test_end_of_its_machine_ends_a_call(
    system: SocketSystem, machine: bm.Machine, held: Held
) -> None:
    system.kill(machine)
    with pytest.raises(bm.MachineStopped, match=r"killed by InProcessSystem\.kill"):
        held.result(LONG)


@pytest.mark.parametrize("end", [bm.Machine.cancel, bm.Machine.shutdown])
def test_end_by_its_driver_ends_a_call(
    machine: bm.Machine, held: Held, end: Callable[[bm.Machine], None]
) -> None:
    end(machine)
    with pytest.raises(bm.MachineStopped, match="it was (cancelled|shut down)"):
        held.result(LONG)
    with pytest.raises(bm.MachineStopped):
        machine.call("H.pid")


def test_end_of_the_session_ends_a_call(session: bm.Session, held: Held) -> None:
    session.shutdown()
    with pytest.raises(bm.MachineStopped):
        held.result(LONG)


def test_lane_that_breaks_ends_its_call_and_no_other(
    system: SocketSystem, machine: bm.Machine, held: Held
) -> None:
    other = machine.submit("H.pid")  # over the connection; it waits for the place
    system.break_lanes()
    with pytest.raises(bm.TransportError, match="may or may not have run"):
        held.result(LONG)
    assert machine.state == bm.State.RUNNING
    assert other.result(LONG) == os.getpid()  # the lost call has given up its place


def test_lane_that_broke_while_it_was_idle_is_not_used(
    system: SocketSystem, machine: bm.Machine
) -> None:
    system.break_lanes()
    for lane in lanes(machine)._of_threads.free:
        lane.used_at -= 1.0  # after a call, a lane is not checked for a while
    assert machine.call("H.pid") == os.getpid()
    await_lane(machine)


def test_submit_that_is_interrupted_keeps_no_call_from_a_lane(machine: bm.Machine) -> None:
    def interrupt(frame: FrameType, event: str, arg: object) -> None:
        if frame.f_code is Portal.start.__code__:
            sys.settrace(None)
            raise KeyboardInterrupt

    sys.settrace(interrupt)
    with pytest.raises(KeyboardInterrupt):
        machine.submit("H.pid")
    assert has_lane(machine)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal")
def test_ctrl_c_cancels_a_call(machine: bm.Machine) -> None:
    main = threading.main_thread().ident

    def interrupt() -> None:
        begun.wait(LONG)
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        machine.call("H.hold")
    thread.join(LONG)
    assert machine.call("H.where_held") == [LANE]
    assert machine.call("H.pid") == os.getpid()  # it has given up its place
    await_lane(machine)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such signal")
@pytest.mark.parametrize(
    ("error", "timeout"), [(TimeoutError("too late"), LONG), (ConnectionError("it is off"), None)]
)
def test_error_of_a_signal_handler_is_raised_as_it_is(
    machine: bm.Machine, error: OSError, timeout: float | None
) -> None:
    def handle(*_: object) -> None:
        raise error

    await_lane(machine)
    before = signal.signal(signal.SIGALRM, handle)
    try:
        with pytest.raises(type(error)) as caught:  # noqa: PT012  # it may come before the call
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            machine.with_options(timeout=timeout).call("H.hold")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert caught.value is error
    assert machine.with_options(timeout=LONG).call("H.pid") == os.getpid()  # it was cancelled


def test_machine_keeps_nothing_of_a_call_that_is_done(machine: bm.Machine) -> None:
    assert has_lane(machine)
    machine.call("H.keep_weakly", pickle.PickleBuffer(bytearray(4 << 20)))
    until(lambda: machine.submit("H.is_kept").result(LONG) is False)  # its thread goes on first
    await_lane(machine)


def test_submit_that_is_refused_keeps_no_call_from_a_lane(machine: bm.Machine) -> None:
    refused: list[Exception] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                machine.submit("H.pid")
            except bm.UsageError as exc:
                refused.append(exc)

    handler = Handler()
    logger = logging.getLogger(__name__)
    logger.addHandler(handler)
    try:
        handle_record(
            logger.makeRecord(__name__, logging.ERROR, "", 0, "", (), None), is_of_machine=True
        )
    finally:
        logger.removeHandler(handler)
    assert refused
    await_lane(machine)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_lane_is_not_used_in_a_forked_child(machine: bm.Machine) -> None:
    assert has_lane(machine)
    pid = os.fork()
    if not pid:
        try:
            machine.call("H.pid")
        except bm.UsageError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert has_lane(machine)


def test_many_threads_share_a_few_lanes(machine: bm.Machine) -> None:
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        names = [*pool.map(lambda _: machine.call("Where.where"), range(400))]
    assert len(names) == 400
    until(lambda: len(lanes(machine)._all) <= 8 and not lanes(machine).is_in_use)


def test_submitted_call_that_takes_long_keeps_others_from_lanes_only_at_first() -> None:
    begun.clear()
    over.clear()
    options = InProcessOptions(maxprocs=2, keepalive_period=0.02, keepalive_timeout=LONG)
    with bm.Session(SocketSystem(options)) as session:
        [machine] = session.start(1, services={"H": Holder(), "Where": Where()})
        await_lane(machine)
        held = machine.submit("H.hold")
        await_lane(machine)
        assert not held.done()
        over.set()
        assert held.result(LONG) != LANE


@pytest.mark.long
def test_ctrl_c_at_any_moment_before_a_call_waits_gives_its_place_up(machine: bm.Machine) -> None:
    for instruction in itertools.count(1):
        await_lane(machine)
        over.clear()
        interruption = Interruption(instruction, last=LaneChannel._receive_into)
        sys.settrace(interruption)
        with pytest.raises(KeyboardInterrupt):
            machine.call("H.hold")
        assert machine.with_options(timeout=LONG).call("H.pid") == os.getpid()
        over.set()
        until(lambda: not machine.call("H.where_held"))
        if interruption.is_last:
            break
    assert instruction > 100
