"""Results are taken when the method returns or yields: what it changes later does not travel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

import bigmachine as bm
from bigmachine.testing import InProcessSystem

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
