"""A synchronous call gives the same over a lane as over the connection."""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import bigmachine as bm
from bigmachine.testing import InProcessOptions, InProcessSystem
from tests.support.sockets import LANE, SocketSystem, Where, await_lane
from tests.support.waiting import until

SYSTEMS = {"connection": InProcessSystem, "lane": SocketSystem}
over = threading.Event()  # of a test; in-process machines share this module


class Refusal(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"refused with {code}")
        self.code = code


class Later:
    """What a ``def`` returns may be awaitable."""

    def __await__(self) -> Iterator[Any]:
        yield from ()
        return "later"


class Work(Where):
    def setup(self, session: bm.PeerSession) -> None:
        self.session = session
        self.running = self.most = 0
        self.lock = threading.Lock()

    def echo(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    def none(self) -> None:
        pass

    def refuse(self, code: int) -> None:
        raise Refusal(code)

    def leave(self) -> None:
        raise SystemExit(3)

    def unpicklable(self) -> Any:
        return threading.Lock()

    def items(self) -> Iterator[int]:
        yield 1

    def later(self) -> Any:
        return Later()

    def async_items(self) -> Any:
        async def items() -> AsyncIterator[int]:
            yield 1

        return items()

    async def anywhere(self) -> str:
        return "in the loop"

    def hold(self) -> None:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        over.wait(600)
        with self.lock:
            self.running -= 1

    @bm.concurrent
    def concurrent(self) -> None:
        self.hold()

    @bm.concurrent
    def count(self) -> tuple[int, int]:
        return self.running, self.most

    @bm.exclusive
    def alone(self) -> None:
        self.hold()

    def call_back(self, addr: str, depth: int) -> int:
        if not depth:
            return 0
        other = self.session.connect(addr)
        return 1 + other.call("Work.call_back", addr, depth - 1)

    def be_busy(self) -> None:
        raise Busy


class Busy(bm.BigmachineError):
    temporary = True


@pytest.fixture(scope="module", params=SYSTEMS)
def machine(request: pytest.FixtureRequest) -> Iterator[bm.Machine]:
    system = SYSTEMS[request.param](InProcessOptions(maxprocs=2))
    with bm.Session(system) as session:
        [machine] = session.start(1, services={"Work": Work(), "Where": Where()})
        if request.param == "lane":
            await_lane(machine)
        yield machine


@pytest.fixture(autouse=True)
def way(machine: bm.Machine, request: pytest.FixtureRequest) -> Iterator[None]:
    """Make sure that calls take the way that they should, before a test and after it."""
    over.clear()
    is_lane = request.node.callspec.params["machine"] == "lane"
    if is_lane:
        await_lane(machine)
    yield
    over.set()
    until(lambda: machine.call("Work.count")[0] == 0)
    assert is_lane or machine.call("Where.where") != LANE


def test_arguments_and_results_are_the_same(machine: bm.Machine) -> None:
    large = bytes(range(256)) * 4096  # a message in parts
    array = bytearray(3 << 20)  # out of band
    assert machine.call("Work.none") is None
    for args in ((), (1, "a", None), (large,), (array, large), ([large] * 3,)):
        assert machine.call("Work.echo", *args, a=1) == (args, {"a": 1})


def test_exceptions_are_the_same(machine: bm.Machine) -> None:
    with pytest.raises(Refusal, match="with 7") as caught:
        machine.call("Work.refuse", 7)
    assert caught.value.code == 7
    remote = caught.value.__cause__
    assert isinstance(remote, bm.RemoteError)
    assert remote.method == "Work.refuse"
    assert "raise Refusal(code)" in remote.traceback
    with pytest.raises(bm.RemoteError, match="SystemExit"):
        machine.call("Work.leave")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("Work.unpicklable", "lock"),
        ("Work.items", "is a generator; call it with stream"),
        ("Work.async_items", "is a generator; call it with stream"),
        ("Work.unknown", "has no method 'unknown'"),
        ("Nobody.method", "no service 'Nobody'"),
    ],
)
def test_what_can_not_be_called_is_refused_the_same(
    machine: bm.Machine, method: str, message: str
) -> None:
    with pytest.raises(bm.UsageError, match=message):
        machine.call(method)


def test_method_may_be_asynchronous_or_return_something_awaitable(machine: bm.Machine) -> None:
    assert machine.call("Work.later") == "later"
    assert machine.call("Work.anywhere") == "in the loop"
    assert machine.call("Work.anywhere") == "in the loop"  # known by now


def start(machine: bm.Machine, method: str, count: int) -> list[threading.Thread]:
    call = functools.partial(machine.call, method)
    threads = [threading.Thread(target=call, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def end(threads: list[threading.Thread]) -> None:
    over.set()
    for thread in threads:
        thread.join(60)


def test_places_are_counted_over_all_ways(machine: bm.Machine) -> None:
    threads = start(machine, "Work.hold", 20)  # more than there are lanes
    until(lambda: machine.call("Work.count")[0] == 2)
    end(threads)
    assert machine.call("Work.count") == (0, 2)


def test_exclusive_method_runs_alone_and_concurrent_ones_all_at_once(machine: bm.Machine) -> None:
    threads = start(machine, "Work.alone", 4)
    until(lambda: machine.call("Work.count")[0] == 1)
    threads += start(machine, "Work.concurrent", 12)
    until(lambda: machine.call("Work.count")[0] == 13)
    end(threads)


def test_method_gives_its_place_up_while_it_waits_for_its_own_machine(machine: bm.Machine) -> None:
    assert machine.call("Work.call_back", machine.addr, 6) == 6


def test_temporary_error_is_not_repeated_if_the_method_raised_it(machine: bm.Machine) -> None:
    with pytest.raises(Busy):
        machine.with_options(retry=True).call("Work.be_busy")


def test_call_does_not_overtake_those_that_were_submitted_before(machine: bm.Machine) -> None:
    pending = [machine.submit("Work.echo", n) for n in range(3)]
    blocked = [machine.submit("Work.hold"), machine.submit("Work.hold")]
    waits = start(machine, "Work.none", 1)
    until(lambda: machine.call("Work.count")[0] == 2)
    assert waits[0].is_alive()
    over.set()
    assert [future.result(60)[0][0] for future in pending] == [0, 1, 2]
    assert [future.result(60) for future in blocked] == [None, None]
    end(waits)


def test_call_ends_when_its_time_is_over(machine: bm.Machine) -> None:
    assert machine.with_options(timeout=60).call("Work.none") is None
    threads = start(machine, "Work.hold", 1)
    until(lambda: machine.call("Work.count")[0] == 1)
    with pytest.raises(bm.CallTimeout, match=r"was not done after 0\.05 s and was cancelled"):
        machine.with_options(timeout=0.05).call("Work.hold")
    # It has given up its place among two, so there is one for others.
    assert machine.with_options(timeout=60).call("Work.none") is None
    end(threads)


def test_callers_of_several_threads_get_their_own_results(machine: bm.Machine) -> None:
    found: dict[int, list[Any]] = {}

    def call(n: int) -> None:
        found[n] = [machine.call("Work.echo", n, i)[0] for i in range(50)]

    threads = [threading.Thread(target=call, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {n: [(n, i) for i in range(50)] for n in range(12)}
