"""What `with_options` sets: a time limit for calls and streams, and repetition."""

from __future__ import annotations

import datetime
import fractions
import functools
import math
import signal
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
import trio

import bigmachine as bm
from bigmachine.testing import InProcessSystem
from tests.support.services import Flaky
from tests.support.waiting import until

OFTEN = 10**9


class Work:
    def __init__(self) -> None:
        self.begun = self.cancelled = 0

    def add(self, a: int, b: int = 0) -> int:
        return a + b

    @bm.parallel
    def in_process(self) -> None: ...

    async def hang(self) -> None:
        self.begun += 1
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled += 1

    async def counts(self) -> tuple[int, int]:
        return self.begun, self.cancelled

    async def slowly(self, seconds: float) -> AsyncIterator[int]:
        try:
            for n in range(1000):
                yield n
                await trio.sleep(seconds)
        finally:
            self.cancelled += 1


async def collect(stream: bm.AsyncStream, items: list[int]) -> None:
    async for item in stream:
        items.append(item)


class NeverReady(Work):
    async def setup(self, session: bm.AsyncPeerSession) -> None:
        await trio.sleep_forever()


@pytest.fixture(scope="module")
def machine() -> Iterator[bm.Machine]:
    with bm.Session(InProcessSystem()) as session:
        [machine] = session.start(1, services={"Work": Work()})
        yield machine


# -- options -------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="its process is ended by a signal")
def test_option_given_to_parallel_method_says_how_to_give_it(machine):
    with pytest.raises(TypeError) as caught:
        machine.call("Work.in_process", timeout=3)
    assert "machine.with_options(timeout=5" in "".join(caught.value.__notes__)


def test_option_in_wrong_place_or_unknown_says_how_to_give_it(machine):
    for name, example in (("timeout", "timeout=5"), ("retry", "retry=True"), ("retries", "retry")):
        for method in ("Work.add", "Work.hang"):
            with pytest.raises(TypeError, match="unexpected keyword argument") as caught:
                machine.call(method, **{name: 3})
            assert f"machine.with_options({example}" in "".join(caught.value.__notes__)
    with pytest.raises(TypeError) as caught:
        machine.call("Work.hang", other=3)
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(bm.UsageError, match="timeout and retry, not retries; did you mean 'retry'"):
        machine.with_options(retries=3)


def test_machine_with_options_equals_machine(machine):
    with bm.Session(InProcessSystem()) as session:
        [other] = session.start(1, services={"Work": Work()})
        limited = machine.with_options(timeout=5, retry=True)
        assert limited == machine
        assert hash(limited) == hash(machine)
        assert {limited: 1}[machine] == 1
        assert other != machine
        assert other.addr != machine.addr
        assert limited != "m0"
        assert session.machines == [other.with_options(timeout=1)]
        assert (limited.name, limited.addr, limited.state) == (
            machine.name,
            machine.addr,
            machine.state,
        )


def test_options_that_are_not_named_stay_as_they_are(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services={"Flaky": Flaky()})
            Flaky.lose_connection = staticmethod(functools.partial(kit.system.reset, machine))
            both = machine.with_options(timeout=20).with_options(retry=True)
            began = trio.current_time()
            with pytest.raises(bm.CallTimeout):
                await both.call("Flaky.flaky", OFTEN)
            assert trio.current_time() - began == 20
            with pytest.raises(bm.TransportError):
                await both.with_options(retry=False).call("Flaky.flaky", OFTEN)
            with trio.move_on_after(30) as scope:
                await both.with_options(timeout=None).call("Flaky.flaky", OFTEN)
            assert scope.cancelled_caught
            with trio.move_on_after(30) as scope:
                await machine.call("Flaky.forever")  # it has no options of its own
            assert scope.cancelled_caught

    run(test)


@pytest.mark.parametrize(
    "timeout", [-1, -0.1, math.nan, "5", True, b"5", [], datetime.timedelta(seconds=5), 1j]
)
def test_timeout_that_is_no_number_of_seconds_is_refused(machine, timeout):
    with pytest.raises(bm.UsageError, match="timeout is a number of seconds, 0 or more, or None"):
        machine.with_options(timeout=timeout)


@pytest.mark.parametrize("retry", [3, None, "yes", 1.0])
def test_retry_that_is_not_true_or_false_is_refused(machine, retry):
    with pytest.raises(bm.UsageError, match="retry is True or False"):
        machine.with_options(retry=retry)


@pytest.mark.parametrize(
    "timeout", [60, 60.0, np.float32(60), np.int64(60), fractions.Fraction(60), math.inf]
)
def test_timeout_may_be_any_real_number(machine, timeout):
    assert machine.with_options(timeout=timeout).call("Work.add", 1, 2) == 3


# -- timeout -------------------------------------------------------------------


def test_call_that_takes_too_long_is_cancelled_on_machine(machine):
    limited = machine.with_options(timeout=0.05)
    stub = limited.service(Work, "Work")
    for call in (lambda: limited.call("Work.hang"), limited.submit("Work.hang").result, stub.hang):
        with pytest.raises(bm.CallTimeout) as caught:
            call()
        error = caught.value
        assert (
            str(error) == f"Work.hang on {machine.name} was not done after 0.05 s and was cancelled"
        )
        assert isinstance(error, TimeoutError)
        assert isinstance(error, bm.RpcError)
        assert (error.method, error.addr, error.timeout) == ("Work.hang", machine.addr, 0.05)
        assert not error.temporary
    until(lambda: len({*machine.call("Work.counts")}) == 1)  # all that have begun are cancelled


def test_timeout_covers_wait_for_machine_and_is_exact(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services={"Work": NeverReady()}, wait=False)
            began = trio.current_time()
            with pytest.raises(bm.CallTimeout, match="was not RUNNING after 7 s; nothing was"):
                await machine.with_options(timeout=7).call("Work.add", 1)
            assert trio.current_time() - began == 7

    run(test)


def test_timeout_covers_whole_stream(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services={"Work": Work()})
            stream = machine.with_options(timeout=60).stream("Work.slowly", 7)
            await trio.sleep(1000)  # its time begins with the first item
            began, items = trio.current_time(), []
            with pytest.raises(bm.CallTimeout, match=r"Work\.slowly on m0 was not done after 60 s"):
                await collect(stream, items)
            assert trio.current_time() - began == 60
            assert items == list(range(9))
            assert [item async for item in stream] == []  # as of a generator that has raised
            assert await machine.call("Work.counts") == (0, 1)

    run(test)


def test_stream_of_sync_machine_has_same_limit(machine):
    timeout, items = 0.05, []
    while not items:  # on a busy computer, the first one takes longer
        with (
            machine.with_options(timeout=timeout).stream("Work.slowly", 60) as stream,
            pytest.raises(bm.CallTimeout),
        ):
            items.extend(stream)
        timeout *= 4
    assert items == [0]


def test_timeout_of_zero_is_over_at_once(machine):
    with pytest.raises(bm.CallTimeout, match="after 0 s"):
        machine.with_options(timeout=0).call("Work.hang")


# -- retry ---------------------------------------------------------------------


def test_submit_repeats_call_as_call_does(machine):
    system = InProcessSystem()
    with bm.Session(system) as session:
        [flaky] = session.start(1, services={"Flaky": Flaky()})
        Flaky.lose_connection = staticmethod(functools.partial(system.reset, flaky))
        retrying = flaky.with_options(retry=True)
        assert retrying.submit("Flaky.flaky", 2).result(60) == 3
        assert retrying.service(Flaky, "Flaky").flaky(5) == 6
        with pytest.raises(bm.TransportError):
            flaky.submit("Flaky.flaky", 10).result(60)
        with pytest.raises(bm.CallTimeout):  # repetitions have no time of their own
            retrying.with_options(timeout=0.3).submit("Flaky.flaky", OFTEN).result(60)


def test_call_with_iterator_is_not_repeated():
    system = InProcessSystem()
    with bm.Session(system) as session:
        [machine] = session.start(1, services={"Flaky": Flaky()})
        Flaky.lose_connection = staticmethod(functools.partial(system.reset, machine))
        retrying = machine.with_options(retry=True)
        with pytest.raises(bm.TransportError):
            retrying.call("Flaky.flaky", OFTEN, iter([1, 2]))
        assert retrying.call("Flaky.count") == 1


def test_cancelling_call_ends_its_repetition(run):
    async def test(kit):
        async with kit.session() as session:
            [machine] = await session.start(1, services={"Flaky": Flaky()})
            Flaky.lose_connection = staticmethod(functools.partial(kit.system.reset, machine))
            retrying = machine.with_options(retry=True)
            with trio.move_on_after(20) as scope:
                await retrying.call("Flaky.flaky", OFTEN)
            assert scope.cancelled_caught
            before = await retrying.call("Flaky.count")
            await trio.sleep(1000)
            assert before == await retrying.call("Flaky.count") > 1

    run(test)
