"""Results are taken when the method returns or yields, and unpickled by whoever wants them."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

import bigmachine as bm
from bigmachine.testing import InProcessSystem

LONG = 60.0
SIZE = 20_000  # numbers; large enough to be sent beside the pickle
ROUNDS = 20


class Sums:
    def __init__(self) -> None:
        self.total = np.zeros(SIZE)

    async def add_soon(self) -> np.ndarray:
        self.total += 1
        return self.total

    @bm.exclusive
    def add(self) -> np.ndarray:
        self.total += 1
        return self.total

    async def items_soon(self) -> AsyncIterator[np.ndarray]:
        for _ in range(ROUNDS):
            self.total += 1
            yield self.total

    def items(self) -> Iterator[np.ndarray]:
        for _ in range(ROUNDS):
            self.total += 1
            yield self.total


may_load = threading.Event()  # in-process machines share this module


class Slow:
    """Takes its time to be unpickled, and runs code of the user meanwhile."""

    loads = 0

    def __init__(self) -> None:
        self.number = 5

    def __setstate__(self, state: dict[str, int]) -> None:
        assert may_load.wait(LONG)
        Slow.loads += 1
        self.__dict__.update(state)


class Unloadable:
    def __reduce__(self) -> tuple[object, ...]:
        return int, ("no number",)


class Models:
    def make(self) -> Slow:
        return Slow()

    def unloadable(self) -> Unloadable:
        return Unloadable()

    def echo(self, value: object) -> object:
        return value


@pytest.fixture(scope="module")
def session() -> Iterator[bm.Session]:
    with bm.Session(InProcessSystem) as session:
        yield session


@pytest.mark.parametrize("method", ["add", "add_soon"])
def test_result_is_what_it_was_when_the_method_returned(session: bm.Session, method: str) -> None:
    [machine] = session.start(1, services={"S": Sums()})
    futures = [machine.submit(f"S.{method}") for _ in range(ROUNDS)]
    check([future.result(60) for future in futures], in_order=False)
    machine.shutdown()


@pytest.mark.parametrize("method", ["items", "items_soon"])
def test_item_is_what_it_was_when_it_was_yielded(session: bm.Session, method: str) -> None:
    [machine] = session.start(1, services={"S": Sums()})
    check([*machine.stream(f"S.{method}")], in_order=True)
    machine.shutdown()


def check(results: list[np.ndarray], *, in_order: bool) -> None:
    assert all(result.min() == result.max() for result in results)  # of one moment
    found = [int(result[0]) for result in results]
    assert (found if in_order else sorted(found)) == [*range(1, ROUNDS + 1)]


def test_slow_unpickling_keeps_no_other_call_waiting(session: bm.Session) -> None:
    [machine] = session.start(1, services={"M": Models()})
    future = machine.submit("M.make")
    assert not concurrent.futures.wait([future], LONG).not_done
    assert machine.call("M.echo", 1) == 1
    may_load.set()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = [pool.submit(future.result, LONG).result() for _ in range(3)]
    assert [result.number for result in results] == [5] * 3
    assert len({*map(id, results)}) == Slow.loads == 1
    machine.shutdown()


def test_result_that_cannot_be_unpickled_is_error_of_its_call_alone(session: bm.Session) -> None:
    [machine] = session.start(1, services={"M": Models()})
    future = machine.submit("M.unloadable")
    for _ in range(2):
        assert isinstance(future.exception(LONG), bm.UsageError)
        with pytest.raises(
            bm.UsageError, match=r"M\.unloadable returned .* can't be unpickled here"
        ):
            future.result(LONG)
    assert machine.call("M.echo", 1) == 1
    machine.shutdown()
