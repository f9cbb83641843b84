"""Whatever a method raises or leaves open ends its own call, and neither the machine nor others."""

from __future__ import annotations

import contextlib
import threading

import pytest
import trio

import bigmachine as bm
from bigmachine.testing import InProcessSystem
from bigmachine.worker._loop_watch import LoopWatch
from tests.support.waiting import until
from tests.unit.rpc.wires import memory

LONG = 60


class EvilError(Exception):
    def __str__(self):
        raise SystemExit(3)

    def __reduce__(self):
        raise KeyboardInterrupt


class EvilResult:
    def __reduce__(self):
        raise SystemExit(3)


def cancelled():
    """Return a `trio.Cancelled`, though nothing is cancelled."""
    return trio.Cancelled._create()


ERRORS = {
    "GeneratorExit": GeneratorExit,
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "StopIteration": StopIteration,
    "StopAsyncIteration": StopAsyncIteration,
    "BaseExceptionGroup": lambda: BaseExceptionGroup("both", [cancelled(), ValueError()]),
    "EvilError": EvilError,
}


class Failing:
    async def echo(self, value):
        return value

    async def raise_(self, name):
        raise ERRORS[name]()

    async def raise_later(self, name):
        await trio.lowlevel.checkpoint()
        raise ERRORS[name]()

    async def raise_in_task(self, name):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.raise_later, name)
            await trio.sleep_forever()

    async def items(self, name):
        yield 1
        raise ERRORS[name]()

    async def evil_result(self):
        return EvilResult()

    async def evil_items(self):
        yield EvilResult()

    async def raise_cancelled(self):
        raise cancelled()

    async def reraise_cancelled(self):
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as exc:
                kept = exc
        raise kept

    # -- scopes and generators that are misused ----------------------------------------

    async def leave_scope_open(self, seconds):
        trio.move_on_after(seconds).__enter__()

    async def leave_cancelled_scope_open(self, *, waits):
        if waits:
            await trio.sleep(0.001)
        trio.move_on_after(0).__enter__()
        await trio.lowlevel.checkpoint()

    @bm.exclusive
    async def leave_cancelled_scope_open_exclusively(self):
        await self.leave_cancelled_scope_open(waits=True)

    async def leave_nursery_open(self):
        nursery = await trio.open_nursery().__aenter__()
        nursery.start_soon(trio.sleep_forever)

    async def leave_scope_open_and_wait(self):
        trio.CancelScope().__enter__()
        await trio.sleep_forever()

    async def in_scope(self):
        with trio.move_on_after(1000):
            while True:
                yield 1

    async def in_nursery(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            while True:
                yield 1

    async def in_failing_nursery(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.raise_later, "KeyboardInterrupt")
            while True:
                yield 1

    async def closes_itself(self):
        items = self.in_scope()
        await items.aclose()
        await items.aclose()
        while True:
            yield 1

    async def ignores_close(self):
        with contextlib.suppress(GeneratorExit):
            while True:
                yield 1
        yield 2  # once only, so that it can be collected


@pytest.fixture(scope="module")
def session():
    with bm.Session(InProcessSystem) as session:
        yield session


@pytest.fixture(scope="module")
def running(session):
    return session.start(1, services={"F": Failing()})[0]


@pytest.fixture
def machine(running):
    yield running
    # Several calls, as each may get the task of an earlier one.
    futures = [running.submit("F.echo", n) for n in range(5)]
    assert [future.result(LONG) for future in futures] == [*range(5)]


@pytest.mark.parametrize("name", ERRORS)
def test_error_of_any_kind_is_raised_by_its_own_call(machine, name):
    for method in ("raise_", "raise_later", "raise_in_task"):
        with pytest.raises((bm.RemoteError, ExceptionGroup, RuntimeError, EvilError)):
            machine.submit(f"F.{method}", name).result(LONG)
    with pytest.raises((bm.RemoteError, RuntimeError, EvilError)):
        list(machine.stream("F.items", name))


def test_cancelled_that_method_raises_itself_is_error_of_its_call(machine):
    for method in ("raise_cancelled", "reraise_cancelled"):
        with pytest.raises(bm.RemoteError, match=r"raised trio\.Cancelled"):
            machine.submit(f"F.{method}").result(LONG)


def test_cancelled_by_scope_that_method_leaves_open_is_error_of_its_call(machine):
    leave_open = "leave_cancelled_scope_open"
    for waits in (False, True):
        with pytest.raises(bm.RemoteError, match=r"raised trio\.Cancelled"):
            machine.submit(f"F.{leave_open}", waits=waits).result(LONG)
    for _ in range(2):
        with pytest.raises(bm.RemoteError, match=r"raised trio\.Cancelled"):
            machine.submit(f"F.{leave_open}_exclusively").result(LONG)


def test_result_whose_pickling_exits_ends_only_its_call(machine):
    with pytest.raises(bm.UsageError, match="can't be pickled"):
        machine.submit("F.evil_result").result(LONG)
    with pytest.raises(bm.UsageError, match="can't be pickled"):
        list(machine.stream("F.evil_items"))
    assert machine.call("F.echo", 1) == 1


def test_scope_that_method_leaves_open_does_not_reach_other_calls(machine, caplog):
    for method, args in [("leave_scope_open", (0,)), ("leave_scope_open", (1000,))]:
        for _ in range(3):
            machine.submit(f"F.{method}", *args).result(LONG)
    machine.submit("F.leave_nursery_open").result(LONG)
    future = machine.submit("F.leave_scope_open_and_wait")
    machine.call("F.echo", 1)
    future.cancel()
    machine.call("F.echo", 1)
    assert "a call has left a cancel scope or a nursery open" in caplog.text


@pytest.mark.parametrize(
    "method", ["in_scope", "in_nursery", "in_failing_nursery", "closes_itself", "ignores_close"]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_generator_that_is_hard_to_close_ends_with_its_stream(machine, method):
    for _ in range(2):
        with machine.stream(f"F.{method}") as items:
            assert next(items) == 1


def test_method_that_blocks_loop_is_named_in_log(caplog):
    class Blocks:
        async def block(self):
            until(lambda: "S.block has blocked the machine's loop" in caplog.text)
            until(lambda: len(caplog.records) >= 2)

    async def main():
        async with memory(Blocks()) as wire:
            LoopWatch(period=0.001, limit=0.01).start()
            await wire.call("block")
        assert "waiting.py" in caplog.text  # where it blocks

    trio.run(main)


def test_machine_without_a_thread_to_watch_its_loop_says_what_to_do(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    async def main():
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(bm.UsageError, match="raise the limit of its threads .`ulimit -u`"):
            LoopWatch().start()

    trio.run(main)


def test_error_in_nursery_of_generator_is_raised_by_its_stream(machine):
    with pytest.raises(bm.RemoteError, match="BaseExceptionGroup"):
        for _ in machine.stream("F.in_failing_nursery"):
            pass
