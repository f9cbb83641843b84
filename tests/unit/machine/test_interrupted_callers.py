"""A signal may come at any moment of a call: its handler calls machines, or Ctrl-C cancels it."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
import trio

import bigmachine as bm
from bigmachine.machine._future import LoopFuture
from bigmachine.machine._yielding_future import YieldingFuture
from bigmachine.testing import InProcessSystem
from tests.support.interruption import Interruption
from tests.support.services import Echo
from tests.support.waiting import until

CALLS = 300
LONG = 60.0


class Sleeper:
    """A method that runs until it is cancelled, and how many of its calls do."""

    def __init__(self) -> None:
        self.running = 0

    async def sleep(self) -> None:
        self.running += 1
        try:
            await trio.sleep(LONG)
        finally:
            self.running -= 1

    async def count(self) -> int:
        return self.running


@pytest.fixture(scope="module")
def machine() -> Iterator[bm.Machine]:
    with bm.Session(InProcessSystem) as session:
        yield session.start(1, services={"E": Echo(), "S": Sleeper()})[0]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal")
def test_signal_handler_may_call_at_any_moment(machine: bm.Machine) -> None:
    handled = 0
    is_ready = threading.Event()
    main = threading.main_thread().ident
    assert main == threading.get_ident()

    def handle(*_: object) -> None:
        nonlocal handled
        assert machine.with_options(timeout=LONG).call("E.echo", handled) == handled
        handled += 1
        is_ready.set()

    def interrupt() -> None:
        for _ in range(CALLS):
            signal.pthread_kill(main, signal.SIGUSR1)
            is_ready.wait(LONG)
            is_ready.clear()

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        thread = threading.Thread(target=interrupt, daemon=True)
        thread.start()
        while thread.is_alive():
            assert machine.call("E.echo", 1) == 1
            assert machine.submit("E.echo", 2).result() == 2
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled == CALLS


def test_ctrl_c_at_any_moment_before_a_call_waits_cancels_its_method(machine: bm.Machine) -> None:
    for instruction in itertools.count(1):
        interruption = Interruption(instruction, last=LoopFuture.result)
        sys.settrace(interruption)
        with pytest.raises(KeyboardInterrupt):
            machine.call("S.sleep")
        until(lambda: machine.call("S.count") == 0)
        if interruption.is_last:
            break
    assert instruction > 20


class WaitInterruption:
    """A trace function that raises at an instruction of the code in which a future is awaited."""

    def __init__(self, instruction: int) -> None:
        self._left = instruction

    def __call__(self, frame: FrameType, event: str, arg: object) -> WaitInterruption | None:
        if frame.f_code.co_filename != YieldingFuture._wait.__code__.co_filename:
            return None
        frame.f_trace_opcodes = True
        self._left -= event in ("line", "opcode")
        if not self._left:
            sys.settrace(None)
            raise KeyboardInterrupt
        return self


def test_ctrl_c_at_any_moment_of_a_wait_is_raised_and_leaves_the_future_usable() -> None:
    for instruction in itertools.count(1):
        future: YieldingFuture[int] = YieldingFuture()
        sys.settrace(WaitInterruption(instruction))
        try:
            with pytest.raises((KeyboardInterrupt, TimeoutError)) as caught:
                future.result(timeout=0)
        finally:
            sys.settrace(None)
        thread = threading.Thread(target=future.finish, args=(1, None), daemon=True)
        thread.start()
        assert future.result(LONG) == 1
        thread.join()
        if caught.type is TimeoutError:
            break
    assert instruction > 20
