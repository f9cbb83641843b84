"""At most maxprocs `def` methods run; those that wait for peers, or are cancelled, don't count."""

from __future__ import annotations

import concurrent.futures
import functools
import threading

import pytest
import trio

import bigmachine as bm
from bigmachine.rpc.server.pools._place_watch import PlaceWatch
from bigmachine.rpc.server.pools._thread_job import do_nothing
from bigmachine.services._waiting import waiting
from bigmachine.testing import InProcessSystem
from tests.support.waiting import eventually, until
from tests.unit.rpc.wires import thread_pool
from tests.unit.services.test_kinds import logged

LONG = 60


class Node:
    """Calls other machines, and itself, from `def` methods."""

    def setup(self, session):
        self.session = session

    def answer(self, n=0):
        return n + 1

    def items(self, n):
        yield from range(n)

    def numbers(self, items):
        return list(items)

    # -- each asks the machine at ``addr`` in its own way -------------------------

    def call(self, addr):
        return self.session.connect(addr).call("Node.answer")

    def stub(self, addr):
        return self.session.connect(addr).service(Node, "Node").answer()

    def result(self, addr):
        return self.session.connect(addr).submit("Node.answer").result(LONG)

    def exception(self, addr):
        future = self.session.connect(addr).submit("Node.answer")
        return 0 if future.exception(LONG) else future.result()

    def wait(self, addr):
        future = self.session.connect(addr).submit("Node.answer")
        done, _ = concurrent.futures.wait([future], LONG)
        return done.pop().result()

    def as_completed(self, addr):
        futures = [self.session.connect(addr).submit("Node.answer", n) for n in range(3)]
        return min(future.result() for future in concurrent.futures.as_completed(futures, LONG))

    def stream(self, addr):
        return len(list(self.session.connect(addr).stream("Node.items", 1)))

    def upload(self, addr):
        peer = self.session.connect(addr)
        return max(peer.call("Node.numbers", (peer.call("Node.answer") for _ in range(3))))

    # -- longer ways ---------------------------------------------------------------

    def generate(self, addr):
        yield self.call(addr)

    def relay(self, addr, back, how):
        return self.session.connect(addr).call(f"Node.{how}", back)

    def around(self, addrs):
        """Go round a ring of machines."""
        if not addrs:
            return 0
        return 1 + self.session.connect(addrs[0]).call("Node.around", addrs[1:])


WAYS = ["call", "stub", "result", "exception", "wait", "as_completed", "stream", "upload"]


@pytest.fixture(scope="module")
def pair():
    with bm.Session(InProcessSystem, maxprocs=1) as session:
        yield session.start(2, services={"Node": Node()})


@pytest.mark.parametrize("how", WAYS)
def test_method_may_wait_for_call_to_own_machine_or_ring_with_one_processor(pair, how):
    a, b = pair
    futures = [a.submit(f"Node.{how}", a.addr) for _ in range(3)]
    futures += [a.submit("Node.relay", b.addr, a.addr, how) for _ in range(3)]
    assert [future.result(LONG) for future in futures] == [1] * 6


def test_generator_may_wait_for_call_to_own_machine(pair):
    a, _ = pair
    assert list(a.stream("Node.generate", a.addr)) == [1]


def test_ring_of_hundred_calls_over_two_machines_with_one_processor_each(pair):
    a, b = pair
    assert a.submit("Node.around", [b.addr, a.addr] * 50).result(LONG) == 100


# -- how many run at once --------------------------------------------------------------


class Crowd:
    """Counts the methods that run at once; those that wait for a peer are not running."""

    def setup(self, session):
        self.session = session
        self.lock = threading.Lock()
        self.running = self.most = 0

    def answer(self):
        self.enter()
        self.leave()

    def ask(self, addr):
        peer = self.session.connect(addr)
        self.enter()
        for _ in range(5):
            self.leave()
            peer.call("Crowd.answer")
            self.enter()
        self.leave()

    def enter(self):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)

    def leave(self):
        with self.lock:
            self.running -= 1

    async def at_most(self):
        return self.most


def test_no_more_than_maxprocs_methods_run_though_many_wait_for_peers():
    with bm.Session(InProcessSystem, maxprocs=2) as session:
        a, b = session.start(2, services={"Crowd": Crowd()})
        futures = [m.submit("Crowd.ask", a.addr) for m in (a, b) for _ in range(20)]
        for future in futures:
            future.result(LONG)
        assert {m.call("Crowd.at_most") for m in (a, b)} <= {1, 2}


class Block:
    """Blocks threads until it is told to release them."""

    started = threading.Semaphore(0)
    release = threading.Event()

    def block(self):
        self.started.release()
        self.release.wait(LONG)
        return threading.current_thread().name

    def items(self):
        yield 0
        self.started.release()
        self.release.wait(LONG)
        yield 1

    def thread(self):
        return threading.current_thread().name


@pytest.fixture
def block():
    """A session of one machine with one processor, and `Block` on it."""
    Block.started, Block.release = threading.Semaphore(0), threading.Event()
    system = InProcessSystem()
    with bm.Session(system) as session:
        yield session.start(1, services={"Block": Block()})[0], system
        Block.release.set()


def test_cancelled_method_gives_its_place_to_next_call_and_is_named_in_log(
    block, caplog, monkeypatch
):
    monkeypatch.setattr("bigmachine.rpc.server.pools._threads.ABANDONED_SECONDS", 0.0)
    machine, _ = block
    future = machine.submit("Block.block")
    assert Block.started.acquire(timeout=LONG)
    waiting = machine.submit("Block.thread")
    assert future.cancel()
    assert waiting.result(LONG)
    assert machine.call("Block.thread")
    [record] = [r for r in caplog.records if "Block.block" in r.message]
    assert "still runs after it was cancelled, in 1 thread(s)" in record.message


def test_method_that_ends_soon_after_it_was_cancelled_is_not_named(block, caplog, monkeypatch):
    monkeypatch.setattr("bigmachine.rpc.server.pools._threads.ABANDONED_SECONDS", LONG)
    machine, _ = block
    with machine.stream("Block.items") as items:
        assert next(items) == 0
        assert Block.started.acquire(timeout=LONG)
    assert machine.call("Block.thread")  # beside the next item, for which nobody waits
    Block.release.set()
    with pytest.raises(bm.UsageError, match="Block.items is a generator; call it with stream()"):
        machine.call("Block.items")
    assert machine.call("Block.thread")
    assert "still runs" not in caplog.text


def test_method_gives_up_its_place_when_its_caller_vanishes(block):
    machine, system = block
    future = machine.submit("Block.block")
    assert Block.started.acquire(timeout=LONG)
    system.reset(machine)
    with pytest.raises(bm.TransportError):
        future.result(LONG)
    assert machine.submit("Block.thread").result(LONG)


def test_generator_that_blocks_gives_up_its_place_when_it_is_closed(block):
    machine, _ = block
    with machine.stream("Block.items") as items:
        assert next(items) == 0
        assert Block.started.acquire(timeout=LONG)
    assert machine.submit("Block.thread").result(LONG)


# -- concurrent and exclusive ------------------------------------------------------------


class Marked:
    """Counts how many of its exclusive methods run at once."""

    gate = threading.Event()

    def setup(self, session):
        self.session = session
        self.inside = self.most = self.ended = 0

    def plain(self):
        return "plain"

    async def state(self):
        return self.inside, self.most, self.ended

    def _enter(self):
        self.inside += 1
        self.most = max(self.most, self.inside)

    def _leave(self):
        self.ended += 1
        self.inside -= 1

    def _run(self):
        self._enter()
        threading.Event().wait(0.001)  # for another thread to come
        self._leave()

    async def _run_in_loop(self):
        self._enter()
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        self._leave()

    # -- exclusive ------------------------------------------------------------------

    @bm.exclusive
    def method(self):
        self._run()

    @bm.exclusive
    async def async_method(self):
        await self._run_in_loop()

    @bm.exclusive
    def generator(self):
        for n in range(3):
            self._run()
            yield n

    @bm.exclusive
    async def async_generator(self):
        for n in range(3):
            await self._run_in_loop()
            yield n

    @bm.exclusive
    @bm.concurrent
    def concurrent_method(self):
        self._run()

    @bm.exclusive
    @logged
    async def decorated(self):
        await self._run_in_loop()

    @bm.exclusive
    def hold(self):
        self._enter()
        self.gate.wait(LONG)
        self._leave()

    @bm.exclusive
    def ask_self(self, addr):
        peer = self.session.connect(addr)
        self._enter()
        self.inside -= 1
        peer.call("Marked.method")
        self._enter()
        self._leave()

    # -- concurrent -----------------------------------------------------------------

    @bm.concurrent
    def meet(self, barrier):
        return barriers[barrier].wait(LONG)

    @bm.concurrent
    def meet_in_generator(self, barrier):
        yield barriers[barrier].wait(LONG)


class AsyncMarked(Marked):
    async def setup(self, session):
        super().setup(session)

    @bm.exclusive
    async def ask_self(self, addr):
        peer = await self.session.connect(addr)
        await peer.call("Async.async_method")
        assert [n async for n in peer.stream("Async.async_generator")] == [0, 1, 2]
        await self._run_in_loop()

    @bm.exclusive
    async def ask_other_forever(self, addr):
        peer = await self.session.connect(addr)
        self.ended += 1
        await peer.call("Other.sleep")

    async def sleep(self):
        await trio.sleep_forever()


barriers = {}


@pytest.fixture
def marked():
    """A machine with two processors, and `Marked` on it."""
    Marked.gate = threading.Event()
    with bm.Session(InProcessSystem, maxprocs=2) as session:
        services = {"Marked": Marked(), "Other": AsyncMarked(), "Async": AsyncMarked()}
        yield session.start(1, services=services)[0]
        Marked.gate.set()


def test_exclusive_methods_of_every_kind_run_one_at_a_time(marked):
    with concurrent.futures.ThreadPoolExecutor() as readers:
        names = ["method", "async_method", "concurrent_method", "decorated"]
        futures = [marked.submit(f"Marked.{name}") for name in names for _ in range(5)]
        for name in ("generator", "async_generator"):
            streams = [marked.stream(f"Marked.{name}") for _ in range(3)]
            futures += [readers.submit(list, stream) for stream in streams]
        for future in futures:
            future.result(LONG)
    assert marked.call("Marked.state") == (0, 1, 5 * 4 + 3 * 3 * 2)


def test_other_methods_run_beside_exclusive_one(marked):
    holding = marked.submit("Marked.hold")
    until(lambda: marked.call("Marked.state")[0])
    waiting = [marked.submit("Marked.method") for _ in range(3)]  # they take no place meanwhile
    assert marked.call("Marked.plain") == "plain"
    marked.submit("Other.method").result(LONG)
    assert marked.call("Marked.state") == (1, 1, 0)
    waiting.pop().cancel()
    marked.call("Marked.plain")  # by now the machine has the cancellation
    Marked.gate.set()
    for future in (holding, *waiting):
        future.result(LONG)
    assert marked.call("Marked.state") == (0, 1, 3)


def test_cancelled_exclusive_method_stays_exclusive_until_it_ends(marked, caplog):
    future = marked.submit("Marked.hold")
    until(lambda: marked.call("Marked.state")[0])
    future.cancel()
    waiting, later = marked.submit("Marked.method"), marked.submit("Marked.method")
    assert marked.call("Marked.plain") == "plain"
    assert marked.call("Marked.state") == (1, 1, 0)
    Marked.gate.set()
    waiting.result(LONG)
    later.result(LONG)
    assert marked.call("Marked.state") == (0, 1, 3)
    [record] = [r for r in caplog.records if "the other exclusive methods" in r.message]
    assert "Marked.hold still runs after it was cancelled" in record.message


def test_exclusive_method_may_wait_for_exclusive_call_to_own_machine(marked):
    futures = [marked.submit("Marked.ask_self", marked.addr) for _ in range(3)]
    for future in futures:
        future.result(LONG)
    assert marked.call("Marked.state") == (0, 1, 6)


def test_exclusive_async_method_may_wait_for_exclusive_call_to_own_machine(marked):
    futures = [marked.submit("Async.ask_self", marked.addr) for _ in range(3)]
    for future in futures:
        future.result(LONG)
    assert marked.call("Async.state") == (0, 1, 3 * (1 + 3 + 1))


def test_exclusive_async_method_may_be_cancelled_while_it_waits(marked):
    future = marked.submit("Async.ask_other_forever", marked.addr)
    until(lambda: marked.call("Async.state")[2])
    marked.submit("Async.async_method").result(LONG)
    future.cancel()
    marked.submit("Async.async_method").result(LONG)
    assert marked.call("Async.state") == (0, 1, 3)


def test_concurrent_methods_take_no_place(marked):
    barriers["all"] = threading.Barrier(21)
    futures = [marked.submit("Marked.meet", "all") for _ in range(10)]
    streams = [marked.stream("Marked.meet_in_generator", "all") for _ in range(10)]
    with concurrent.futures.ThreadPoolExecutor(10) as readers:
        read = [readers.submit(list, stream) for stream in streams]
        assert marked.call("Marked.plain") == "plain"
        barriers["all"].wait(LONG)
        for future in (*futures, *read):
            future.result(LONG)


# -- the decorators ----------------------------------------------------------------------


def test_decorators_refuse_what_is_no_method():
    class Service: ...

    for decorate in (bm.concurrent, bm.exclusive, bm.parallel):
        with pytest.raises(bm.UsageError, match=f"write @bm.{decorate.__name__} above .* without"):
            decorate()
        for method, message in [
            (4, "a int is not one: .* above the def, without arguments"),
            (Service, "is for methods: decorate those of .*Service"),
            (property(Service), "is for methods, and a property is not one"),
            (functools.cached_property(Service), "a cached_property is not one"),
            (staticmethod(print), "below @staticmethod, next to the def"),
            (classmethod(print), "below @classmethod, next to the def"),
            (len, "len .*wrap it in a def"),
        ]:
            with pytest.raises(bm.UsageError, match=message):
                decorate(method)


def test_method_cannot_be_both_concurrent_and_parallel():
    for one, other in [(bm.parallel, bm.concurrent), (bm.concurrent, bm.parallel)]:
        with pytest.raises(bm.UsageError, match="can't be both"):
            one(other(lambda self: None))
    bm.exclusive(bm.parallel(lambda self: None))


def test_method_that_holds_its_place_and_does_nothing_is_named_in_log(caplog):
    async def main():
        release = threading.Event()
        async with thread_pool(1) as pool:
            watch = PlaceWatch(pool.running, idle_seconds=0.01)
            pool.start(lambda: (release.wait(LONG) and do_nothing) or do_nothing, name="S.waits")
            pool.start(lambda: do_nothing, name="S.queued")
            with waiting():  # something here calls other machines
                pass
            await eventually(lambda: watch.check(is_any_waiting=pool.has_queue()) or caplog.text)
            watch.check(is_any_waiting=True)
            release.set()
        [record] = caplog.records
        assert "S.waits has not computed for" in record.message

    trio.run(main)
