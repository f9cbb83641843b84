"""Futures of `submit` keep to the protocol of `concurrent.futures`."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import gc
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest
import trio

import bigmachine as bm
from bigmachine.machine.calls import _unasked_error
from bigmachine.testing import InProcessSystem
from tests.support.waiting import until

PACKAGE = str(Path(bm.__file__).parent)


class Empty(Exception):
    """An exception whose bool() is False."""

    def __len__(self) -> int:
        return 0


class Doubtful(Exception):
    """An exception of which nobody may ask whether it is true, as `traceback` does."""

    def __bool__(self) -> bool:
        raise LookupError("bool")


class Work:
    def setup(self, session: bm.PeerSession) -> None:
        self.gates = collections.defaultdict(threading.Event)
        self.begun = self.cancelled = 0

    def add(self, a: int, b: int = 0) -> int:
        return a + b

    def echo(self, value: object) -> object:
        return value

    def count(self, n: int) -> Iterator[int]:
        yield from range(n)

    def empty(self) -> None:
        raise Empty

    def doubt(self) -> None:
        raise Doubtful

    def fail(self) -> None:
        raise LookupError("not there")

    async def hang(self) -> None:
        self.begun += 1
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled += 1

    async def counts(self) -> tuple[int, int]:
        return self.begun, self.cancelled

    def wait(self, gate: str) -> str:
        assert self.gates[gate].wait(60)
        return "opened"

    async def open(self, gate: str) -> None:
        self.gates[gate].set()

    def total(self, numbers: Iterator[int]) -> int:
        return sum(numbers)


@pytest.fixture(scope="module")
def session() -> Iterator[bm.Session]:
    with bm.Session(InProcessSystem()) as session:
        yield session


@pytest.fixture(scope="module")
def machine(session: bm.Session) -> bm.Machine:
    [machine] = session.start(1, services={"Work": Work()})
    return machine


def begun(machine: bm.Machine) -> Future[Any]:
    """A future whose method runs."""
    before, _ = machine.call("Work.counts")
    future = machine.submit("Work.hang")
    until(lambda: machine.call("Work.counts")[0] > before)
    return future


def in_callback(future: Future[Any], function: Callable[[Future[Any]], object]) -> Any:
    """What ``function`` returns when it is called as a done-callback of ``future``."""
    outcome: Future[Any] = Future()

    def callback(future: Future[Any]) -> None:
        try:
            outcome.set_result(function(future))
        except BaseException as exc:
            outcome.set_exception(exc)

    future.add_done_callback(callback)
    return outcome.result(60)


# -- errors that nobody asks for -----------------------------------------------


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has asked for an error of any method so far."""
    monkeypatch.setattr(_unasked_error, "_known_methods", set())


def test_error_that_nobody_asks_for_is_logged_once_for_each_method(unknown, machine, caplog):
    machine.submit("Work.fail")
    until(lambda: "nobody has asked for its outcome" in caplog.text)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("bigmachine.machine", logging.WARNING)
    assert record.getMessage().startswith("Work.fail on m0, which was submitted, has failed")
    assert "LookupError: not there" in caplog.text
    futures = [machine.submit("Work.fail") for _ in range(3)]
    assert concurrent.futures.wait(futures, timeout=60).not_done == set()
    futures.clear()
    gc.collect()
    assert caplog.records == [record]


def test_error_is_not_logged_if_anybody_has_asked_for_one_of_its_method(unknown, machine, caplog):
    futures = [machine.submit("Work.fail") for _ in range(3)]
    with pytest.raises(LookupError):
        futures[0].result(60)
    assert concurrent.futures.wait(futures, timeout=60).not_done == set()
    futures.clear()
    empty = machine.submit("Work.empty")
    assert isinstance(empty.exception(60), Empty)
    del empty
    hanging = begun(machine)
    hanging.cancel()
    del hanging
    gc.collect()
    machine.call("Work.add", 1)
    assert caplog.records == []


def test_handler_of_such_an_error_may_call_a_machine(unknown, machine, monkeypatch):
    # As in users' programs: other tests have the loop wait for handlers, which wait for it here.
    monkeypatch.setattr("bigmachine.session._log_thread._WAIT_SECONDS", 0.01)
    handled = []

    class Calling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            handled.append((record.getMessage().partition(" ")[0], machine.call("Work.add", 1)))

    logger, handler = logging.getLogger("bigmachine.machine"), Calling()
    logger.addHandler(handler)
    try:
        for method in ("Work.fail", "Work.doubt"):
            machine.submit(method)
            until(lambda method=method: (method, 1) in handled)
    finally:
        logger.removeHandler(handler)


# -- states --------------------------------------------------------------------


def test_wait_and_as_completed_see_cancelled_future(machine):
    hanging = begun(machine)
    futures = [machine.submit("Work.add", 1), hanging, machine.submit("Work.add", 2)]
    waiter = threading.Timer(0, hanging.cancel)
    waiter.start()
    done, not_done = concurrent.futures.wait(futures, timeout=60)
    assert (len(done), not_done) == (3, set())
    assert len(list(concurrent.futures.as_completed(futures, timeout=60))) == 3
    waiter.join()


def test_running_call_can_be_cancelled_with_its_method(machine):
    _, cancelled = machine.call("Work.counts")
    future = begun(machine)
    assert future.running()
    assert not future.done()
    assert not future.cancelled()
    assert future.cancel()
    assert future.cancel()  # once more changes nothing
    assert future.cancelled()
    assert future.done()
    assert not future.running()
    with pytest.raises(CancelledError):
        future.result(60)
    with pytest.raises(CancelledError):
        future.exception(60)
    until(lambda: machine.call("Work.counts")[1] > cancelled)


def test_done_call_cannot_be_cancelled(machine):
    future = machine.submit("Work.add", 1, b=2)
    assert future.result(60) == 3
    assert not future.cancel()
    assert (future.running(), future.cancelled(), future.done()) == (False, False, True)
    assert future.exception() is None


def test_call_cancelled_before_machine_runs_is_never_made(session):
    [late] = session.start(1, services={"Work": Work()}, wait=False)
    cancelled, made = late.submit("Work.hang"), late.submit("Work.counts")
    assert cancelled.cancel()
    assert made.result(60) == (0, 0)
    late.shutdown()


def test_result_with_timeout_leaves_call_running(machine):
    future = begun(machine)
    for ask in (future.result, future.exception):
        with pytest.raises(TimeoutError):
            ask(0)
    assert future.running()
    assert concurrent.futures.wait([future], timeout=0).not_done == {future}
    future.cancel()


def test_future_marked_as_running_by_others_still_gets_its_result(machine):
    future = machine.submit("Work.wait", "marked")
    assert future.set_running_or_notify_cancel()
    assert not future.cancel()  # now as `concurrent.futures` says
    machine.call("Work.open", "marked")
    assert future.result(60) == "opened"


def test_exception_that_is_false_is_raised(machine):
    for call in (machine.call, lambda name: machine.submit(name).result(60)):
        with pytest.raises(Empty):
            call("Work.empty")


def test_asyncio_waits_for_future_and_cancels_it(machine):
    async def main() -> None:
        assert await asyncio.wrap_future(machine.submit("Work.add", 1, 2)) == 3
        hanging = begun(machine)
        waiting = asyncio.ensure_future(asyncio.wrap_future(hanging))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        while not hanging.cancelled():
            await asyncio.sleep(0)

    asyncio.run(main())


def test_future_begins_with_all_that_python_gives_its_own(machine):
    future = begun(machine)
    for name, value in vars(Future()).items():
        if name == "_condition":
            assert {"acquire", "release", "wait", "notify_all"} < {*dir(future._condition)}
        else:
            assert getattr(future, name) in (value, ()), name  # empty is empty
    future.cancel()


def test_every_thread_that_waits_for_a_future_is_woken(machine):
    future = machine.submit("Work.wait", "all")
    with pytest.raises(TimeoutError):
        future.result(0)  # it waits no longer
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        asks = [future.result, future.exception] * 4
        asked = [threads.submit(ask, 60) for ask in asks]
        until(lambda: len(future._condition._sleepers) == len(asks))
        machine.call("Work.open", "all")
        assert [each.result() for each in asked] == ["opened", None] * 4
    with future._condition:
        assert not future._condition.wait(0)
    assert not future._condition._sleepers


def test_cancelling_a_future_wakes_every_thread_that_waits_for_it(machine):
    future = begun(machine)
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(future.result, 60) for _ in range(2)]
        until(lambda: len(future._condition._sleepers) == 2)
        future.cancel()
        for each in asked:
            assert isinstance(each.exception(), CancelledError)


def test_asyncio_of_python_3_14_gets_what_result_returns(machine):
    """It reads futures by this method; the older ones call `result`."""
    hanging, sent = begun(machine), ("some", 5)
    assert hanging._get_snapshot() == (False, False, None, None)
    hanging.cancel()
    assert hanging._get_snapshot() == (True, True, None, None)
    done, failed = machine.submit("Work.echo", sent), machine.submit("Work.fail")
    concurrent.futures.wait([done, failed], timeout=60)
    assert done._get_snapshot() == (True, False, sent, None)
    assert failed._get_snapshot() == (True, False, None, failed.exception())


# -- done-callbacks ------------------------------------------------------------


def test_callback_may_submit_call_and_stream(machine):
    for use in (
        lambda n: machine.submit("Work.add", n, 1).result(60),
        lambda n: machine.call("Work.add", n, 1),
        lambda n: max(machine.stream("Work.count", n + 2)),
        lambda n: asyncio.run(wrapped(machine.submit("Work.add", n, 1))),
    ):
        future = machine.submit("Work.add", 1, 1)
        assert in_callback(future, lambda future, use=use: use(future.result())) == 3


async def wrapped(future: Future[Any]) -> Any:
    return await asyncio.wrap_future(future)


def test_callbacks_are_called_once_each_in_order_added(machine):
    called: list[tuple[int, bool]] = []
    future = begun(machine)
    for n in range(5):
        future.add_done_callback(lambda done, n=n: called.append((n, done is future)))
    future.cancel()
    assert called == [(n, True) for n in range(5)]  # cancelled here, so called here
    called.clear()
    future = machine.submit("Work.wait", "in order")
    for n in range(5):
        future.add_done_callback(lambda done, n=n: called.append((n, done is future)))
    machine.call("Work.open", "in order")
    until(lambda: len(called) == 5)
    assert called == [(n, True) for n in range(5)]


def test_callbacks_of_a_future_are_called_in_order_though_one_of_them_takes_long(machine):
    event, called = threading.Event(), []
    futures = [machine.submit("Work.wait", "long") for _ in range(2)]
    futures[0].add_done_callback(lambda _: called.append(event.wait(60)))
    futures[0].add_done_callback(lambda _: called.append("next"))
    futures[1].add_done_callback(lambda _: event.set())  # in another thread: the first is blocked
    machine.call("Work.open", "long")
    until(lambda: len(called) == 2)
    assert called == [True, "next"]


def test_callback_added_to_done_future_is_called_at_once(machine):
    future = machine.submit("Work.add", 1)
    future.result(60)
    threads: list[int] = []
    future.add_done_callback(lambda _: threads.append(threading.get_ident()))
    assert threads == [threading.get_ident()]


def test_callback_may_wait_for_what_another_callback_does(machine):
    event = threading.Event()
    futures = [machine.submit("Work.wait", "two") for _ in range(2)]
    waiting: Future[bool] = Future()
    futures[0].add_done_callback(lambda _: waiting.set_result(event.wait(60)))
    futures[1].add_done_callback(lambda _: event.set())
    machine.call("Work.open", "two")
    assert waiting.result(60)  # in one thread, the second callback would never be called


def test_exception_of_callback_is_logged_and_others_are_called(machine, caplog):
    def broken(_: object) -> None:
        raise ValueError("broken callback")

    future = machine.submit("Work.wait", "broken")
    called: Future[str] = Future()
    future.add_done_callback(broken)
    future.add_done_callback(lambda done: called.set_result(done.result()))
    with caplog.at_level(logging.ERROR, logger="concurrent.futures"):
        machine.call("Work.open", "broken")
        assert called.result(60) == "opened"
        until(lambda: "broken callback" in caplog.text)


# -- exceptions ----------------------------------------------------------------


def broken_iterator() -> Iterator[int]:
    yield 1
    raise KeyError("mine")


def frames_of_ours(error: BaseException) -> int:
    frames = traceback.extract_tb(error.__traceback__)
    return len([frame for frame in frames if frame.filename.startswith(PACKAGE)])


@pytest.mark.parametrize(
    ("method", "arguments", "error"),
    [
        ("Work.fail", lambda: (), LookupError),
        ("Work.empty", lambda: (), Empty),
        ("Work.nothing", lambda: (), bm.UsageError),
        ("Work.count", lambda: (1,), bm.UsageError),  # a generator
        ("Work.total", lambda: (broken_iterator(),), KeyError),
    ],
)
def test_exception_has_at_most_two_frames_of_ours(machine, method, arguments, error):
    with pytest.raises(error) as of_future:
        machine.submit(method, *arguments()).result(60)
    with pytest.raises(error) as of_call:
        machine.call(method, *arguments())
    assert frames_of_ours(of_future.value) <= 2
    assert frames_of_ours(of_call.value) <= 2


def test_errors_of_timeout_and_stop_have_at_most_two_frames_of_ours(session):
    [machine] = session.start(1, services={"Work": Work()})
    pending = machine.submit("Work.hang")
    with pytest.raises(bm.CallTimeout) as timed_out:
        machine.with_options(timeout=0).call("Work.hang")
    machine.cancel()
    with pytest.raises(bm.MachineStopped) as cut_off:
        pending.result(60)
    with pytest.raises(bm.MachineStopped) as refused:
        machine.call("Work.hang")
    for caught in (timed_out, cut_off, refused):
        assert frames_of_ours(caught.value) <= 2
