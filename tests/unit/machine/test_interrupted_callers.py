"""A signal may come at any moment of a call: its handler calls machines, or Ctrl-C cancels it."""

from __future__ import annotations

import functools
import itertools
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
import trio

import bigmachine as bm
from bigmachine.machine.calls._future import LoopFuture
from bigmachine.machine.calls._yielding_future import YieldingFuture
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


class Signalling:
    """Is interrupted by a signal wherever it is pickled, or ``"unpickled"`` by the test itself."""

    def __init__(self, when: str) -> None:
        self.when = when

    def __reduce__(self) -> tuple[object, ...]:
        if self.when == "pickled":
            signal.raise_signal(signal.SIGUSR1)
        return signal_in_main_thread, (self.when,)


def signal_in_main_thread(when: str) -> Signalling:
    if threading.current_thread() is threading.main_thread():
        signal.raise_signal(signal.SIGUSR1)
    return Signalling(when)


class LimitError(Exception):
    pass


class Handler:
    count = 0

    def plain(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        raise LimitError

    def any(self, *_: object) -> None:
        self.plain(0, None)

    def forgetful(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.plain(0, None)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal")
@pytest.mark.parametrize("kind", ["plain", "any", "forgetful", "partial", "exit"])
@pytest.mark.parametrize("when", ["pickled", "unpickled"])
def test_what_signal_handler_raises_while_values_are_pickled_is_raised(
    machine: bm.Machine, when: str, kind: str
) -> None:
    handler = Handler()
    handle = {
        "plain": handler.plain,
        "any": handler.any,
        "forgetful": handler.forgetful,
        "partial": functools.partial(Handler.plain, handler),
        "exit": lambda number, frame: sys.exit(3),
    }[kind]
    before = signal.signal(signal.SIGUSR1, handle)
    error = SystemExit if kind == "exit" else LimitError
    try:
        with pytest.raises(error):
            machine.call("E.echo", Signalling(when))
        with pytest.raises(error):
            machine.submit("E.echo", Signalling(when)).result()
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal")
def test_result_whose_unpickling_was_interrupted_may_be_had_again(machine: bm.Machine) -> None:
    handler = Handler()
    before = signal.signal(signal.SIGUSR1, handler.plain)
    try:
        future = machine.submit("E.echo", Signalling("unpickled"))
        for _ in range(2):
            with pytest.raises(LimitError):
                future.result()
        signal.signal(signal.SIGUSR1, lambda *_: None)
        assert isinstance(future.result(), Signalling)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handler.count == 2


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
