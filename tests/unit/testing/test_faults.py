"""Injected faults: their plan, their effect on a stream, and on a session."""

from __future__ import annotations

import itertools
import logging
import math
import threading

import httpx
import pytest
import trio
from trio.testing import (
    check_two_way_stream,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

import bigmachine as bm
from bigmachine.testing import InProcessOptions, InProcessSystem
from bigmachine.testing.faults import Direction, Fault, Faults, Injection
from bigmachine.testing.faults._stream import FaultyStream
from tests.support.clocks import jumping_clock
from tests.support.services import Echo

UP, DOWN = Direction.UP, Direction.DOWN
BODY = bytes(range(256)) * 40


class Lengthy(Echo):
    async def zeros(self, n: int) -> bytes:
        return bytes(n)

    async def count(self, n: int):
        for i in range(n):
            yield i


SERVICES = {"Echo": Lengthy()}


def system() -> InProcessSystem:
    return InProcessSystem(
        InProcessOptions(keepalive_period=2, keepalive_timeout=60, rpc_timeout=1)
    )


def run(test) -> None:
    async def bounded() -> None:
        with trio.fail_after(3600):
            await test()

    trio.run(bounded, clock=jumping_clock())


async def no_wait() -> None:
    await trio.lowlevel.checkpoint()


def faulty(inner, *planned: Injection, wait_passable=no_wait) -> FaultyStream:
    """A stream with the given faults; those that have occurred are in ``recorded``."""
    recorded: list[Injection] = []
    stream = FaultyStream(
        inner,
        number=0,
        address="m0:1",
        plans={way: iter([p for p in planned if p.direction is way]) for way in Direction},
        mean_delay=0.05,
        wait_passable=wait_passable,
        record=recorded.append,
        on_close=lambda _: None,
    )
    stream.recorded = recorded
    return stream


def fault(kind: Fault, offset: int, way: Direction = UP, **details) -> Injection:
    return Injection(0, way, offset, kind, **details)


async def sockets() -> tuple[trio.SocketStream, trio.SocketStream]:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        ours = await trio.open_tcp_stream("127.0.0.1", port)
        return ours, await listener.accept()


async def read(stream, count: float = math.inf) -> bytes:
    """Read ``count`` bytes, or up to the end."""
    data = b""
    with trio.fail_after(60):
        while len(data) < count and (chunk := await stream.receive_some(1000)):
            data += chunk
    return data


async def chunked(stream, sizes) -> None:
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(BODY):
            return
        await stream.send_all(BODY[at : at + size])
        at += size


# -- the plan ------------------------------------------------------------------


def test_plan_depends_only_on_seed_connection_and_direction():
    def plan(seed, connection, direction):
        faults = Faults(seed, mean_bytes=1000, kinds=[Fault.DELAY, Fault.CORRUPT])
        return [
            (p.offset, p.fault) for p in itertools.islice(faults.plan(connection, direction), 50)
        ]

    assert plan(1, 0, UP) == plan(1, 0, UP)
    others = [plan(1, 0, UP), plan(2, 0, UP), plan(1, 1, UP), plan(1, 0, DOWN)]
    assert len({str(other) for other in others}) == 4


def test_plan_of_seed_is_stable_across_releases():
    found = [(p.offset, p.fault, p.size_bytes) for p in Faults(5, mean_bytes=1000).plan(0, UP)]
    assert found == [(2536, "delay", 0), (2810, "corrupt", 1346), (6347, "half-close", 0)]


def test_mean_distance_between_faults_is_as_requested():
    faults = Faults(1, mean_bytes=5000, kinds=[Fault.DELAY])
    offsets = [p.offset for p in itertools.islice(faults.plan(0, UP), 2000)]
    assert offsets == sorted(offsets)
    assert offsets[-1] / 2000 == pytest.approx(5000, rel=0.1)


def test_plans_use_all_kinds_and_end_with_fault_that_ends_direction():
    plans = [list(Faults(seed, mean_bytes=10).plan(0, UP)) for seed in range(200)]
    assert {p.fault for plan in plans for p in plan} == set(Fault)
    last = {Fault.TRUNCATE, Fault.RESET, Fault.HALF_CLOSE, Fault.STALL}
    assert all(
        [p.fault in last for p in plan] == [False] * (len(plan) - 1) + [True] for plan in plans
    )


def test_plan_without_kinds_is_empty():
    assert list(Faults(1, kinds=[]).plan(0, UP)) == []


# -- a stream ------------------------------------------------------------------


def test_stream_without_faults_keeps_stream_contract_of_trio():
    async def make():
        ours, theirs = memory_stream_pair()
        return faulty(ours), faulty(theirs)

    run(lambda: check_two_way_stream(make, None))


@pytest.mark.parametrize("sizes", [[len(BODY)], [1], [7, 500, 3]])
def test_faults_occur_at_their_offset_for_any_chunk_size(sizes):
    async def test():
        ours, theirs = memory_stream_pair()
        stream = faulty(
            ours,
            fault(Fault.DROP, 100, size_bytes=20),
            fault(Fault.CORRUPT, 500, size_bytes=2),
            fault(Fault.DELAY, 900, seconds=3),
            fault(Fault.TRUNCATE, 5000),
        )
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await chunked(stream, sizes)
        assert trio.current_time() == began + 3
        flipped = bytes(byte ^ 32 for byte in BODY[500:502])
        assert await read(theirs) == BODY[:100] + BODY[120:500] + flipped + BODY[502:5000]
        assert await stream.receive_some() == b""
        assert [(r.fault, r.offset) for r in stream.recorded] == [
            (Fault.DROP, 100),
            (Fault.CORRUPT, 500),
            (Fault.DELAY, 900),
            (Fault.TRUNCATE, 5000),
        ]

    run(test)


@pytest.mark.parametrize("size", [1, 7, 20_000])
def test_faults_apply_to_received_bytes(size):
    async def test():
        ours, theirs = memory_stream_pair()
        stream = faulty(
            ours,
            fault(Fault.DROP, 100, DOWN, size_bytes=20),
            fault(Fault.CORRUPT, 500, DOWN, size_bytes=2),
            fault(Fault.HALF_CLOSE, 5000, DOWN),
        )
        await theirs.send_all(BODY)
        data = b""
        while chunk := await stream.receive_some(size):
            assert len(chunk) <= size
            data += chunk
        flipped = bytes(byte ^ 32 for byte in BODY[500:502])
        assert data == BODY[:100] + BODY[120:500] + flipped + BODY[502:5000]
        await stream.send_all(b"the other direction goes on")
        assert await theirs.receive_some() == b"the other direction goes on"

    run(test)


def test_half_close_ends_one_direction_and_discards_later_bytes():
    async def test():
        ours, theirs = await sockets()
        stream = faulty(ours, fault(Fault.HALF_CLOSE, 5000))
        async with theirs, stream:
            await stream.send_all(BODY)
            assert await read(theirs) == BODY[:5000]
            await theirs.send_all(b"still here")
            assert await stream.receive_some() == b"still here"

    trio.run(test)


def test_reset_is_error_at_both_ends():
    async def test():
        ours, theirs = await sockets()
        stream = faulty(ours, fault(Fault.RESET, 5000))
        async with theirs, stream:
            with pytest.raises(trio.BrokenResourceError, match="injected"):
                await stream.send_all(BODY)
            with pytest.raises(trio.BrokenResourceError, match="injected"):
                await stream.receive_some()
            with pytest.raises(trio.BrokenResourceError):
                await read(theirs)

    trio.run(test)


@pytest.mark.parametrize("both", [False, True])
def test_stall_blocks_one_or_both_directions_and_can_be_cancelled(both):
    async def test():
        ours, theirs = memory_stream_pair()
        stream = faulty(ours, fault(Fault.STALL, 5000, both=both))
        with trio.move_on_after(1000) as sending:
            await stream.send_all(BODY)
        assert sending.cancelled_caught
        assert await read(theirs, 5000) == BODY[:5000]
        with pytest.raises(trio.TooSlowError):
            await read(theirs)
        await theirs.send_all(b"the other direction")
        with trio.move_on_after(1000) as receiving:
            assert await stream.receive_some() == b"the other direction"
        assert receiving.cancelled_caught == both

    run(test)


def test_closing_stalled_stream_returns_at_once_and_wakes_waiting_tasks():
    async def test():
        ours, theirs = memory_stream_pair()
        stream = faulty(ours, fault(Fault.STALL, 0, both=True))
        woken = []

        async def wait(use):
            with pytest.raises(trio.ClosedResourceError):
                await use()
            woken.append(use)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, lambda: stream.send_all(b"x"))
            nursery.start_soon(wait, stream.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await stream.send_all(b"y")
            with pytest.raises(trio.BusyResourceError):
                await stream.receive_some()
            began = trio.current_time()
            await stream.aclose()
            assert trio.current_time() == began
        assert len(woken) == 2
        assert await read(theirs) == b""

    run(test)


@pytest.mark.parametrize("kind", [Fault.RESET, Fault.TRUNCATE, Fault.HALF_CLOSE])
def test_injected_end_wakes_waiting_reader(kind):
    async def test():
        ours, _theirs = memory_stream_pair()
        stream = faulty(ours)

        async def receive():
            try:
                assert await stream.receive_some() == b""
                assert kind is not Fault.RESET
            except trio.BrokenResourceError:
                assert kind is Fault.RESET

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            stream.inject(kind, [DOWN])

    run(test)


@pytest.mark.parametrize("kind", [Fault.HALF_CLOSE, Fault.STALL])
def test_fault_in_one_direction_does_not_affect_send_in_other(kind):
    async def test():
        ours, theirs = await sockets()
        stream, data = faulty(ours), BODY * 2000  # more than the kernel takes
        async with theirs, stream:
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send_all, data)
                    await trio.testing.wait_all_tasks_blocked()
                    stream.inject(kind, [DOWN])
                    received = bytearray()
                    while len(received) < len(data):
                        received += await theirs.receive_some()
            assert received == data

    trio.run(test)


def test_end_of_stream_arrives_only_after_partition():
    async def test():
        ours, theirs = memory_stream_pair()
        faults = Faults(kinds=[])
        stream = faulty(ours, wait_passable=faults._wait_passable)
        with trio.move_on_after(1000) as receiving:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.receive_some)
                await trio.testing.wait_all_tasks_blocked()
                faults.partition()
                await theirs.aclose()
        assert receiving.cancelled_caught
        faults.heal()
        assert await stream.receive_some() == b""

    run(test)


def test_cancelled_receive_during_delay_loses_no_bytes():
    async def test():
        ours, theirs = memory_stream_pair()
        stream = faulty(ours, fault(Fault.DELAY, 0, DOWN, seconds=100))
        await theirs.send_all(b"hello")
        with trio.move_on_after(1):
            await stream.receive_some()
        assert await stream.receive_some() == b"hello"

    run(test)


# -- in a session --------------------------------------------------------------


@pytest.mark.long
def test_same_seed_injects_same_faults_at_same_bytes():
    async def once() -> Faults:
        faults = Faults(3, mean_bytes=50_000)
        async with bm.AsyncSession(system(), plugins=[faults]) as session:
            [machine] = await session.start(1, services=SERVICES)
            for size in range(0, 60_000, 3000):
                assert (
                    await machine.with_options(retry=True).call("Echo.echo", b"x" * size)
                    == b"x" * size
                )
        return faults

    runs: list[Faults] = []

    async def test():
        runs.append(await once())
        runs.append(await once())

    run(test)
    ways = {(i.connection, i.direction) for faults in runs for i in faults.injected}
    assert len(ways) > 8
    for connection, direction in ways:
        one, other = (
            [i for i in faults.injected if (i.connection, i.direction) == (connection, direction)]
            for faults in runs
        )
        reached = min(len(one), len(other))
        assert one[:reached] == other[:reached]
        longer = max(one, other, key=len)
        assert longer == list(itertools.islice(runs[0].plan(connection, direction), len(longer)))


def test_seed_is_in_log_and_in_repr(caplog):
    async def test():
        faults = Faults()
        async with bm.AsyncSession(system(), plugins=[faults]):
            assert f"seed={faults.seed}" in repr(faults)
            assert f"seed={faults.seed}" in caplog.text
        assert Faults().seed != faults.seed

    with caplog.at_level(logging.WARNING):
        run(test)


@pytest.mark.parametrize("kind", [*Fault])
def test_calls_succeed_after_manually_injected_fault(kind):
    async def test():
        faults = Faults(kinds=[])
        async with bm.AsyncSession(system(), plugins=[faults]) as session:
            [machine] = await session.start(1, services=SERVICES)
            faults.inject(kind)
            assert await machine.with_options(retry=True).call("Echo.echo", BODY) == BODY
            await trio.sleep(30)
            assert machine.state == bm.State.RUNNING
            assert {i.fault for i in faults.injected} == {kind}

    run(test)


def test_fault_can_be_limited_to_connections_of_one_machine():
    async def test():
        faults = Faults(kinds=[])
        async with bm.AsyncSession(system(), plugins=[faults]) as session:
            one, other = await session.start(2, services=SERVICES)
            faults.inject(Fault.RESET, address=one.instance.address)
            assert len(faults.injected) == 1
            with trio.fail_after(0.01):
                assert await other.call("Echo.echo", 1) == 1
            faults.inject(Fault.RESET, address=other.instance.address)
            assert {i.connection for i in faults.injected} == {0, 1}
            assert await one.with_options(retry=True).call("Echo.echo", 1) == 1

    run(test)


def test_call_during_partition_is_answered_after_heal():
    async def test():
        faults = Faults(kinds=[])
        async with bm.AsyncSession(system(), plugins=[faults]) as session:
            [machine] = await session.start(1, services=SERVICES)
            faults.partition()
            with trio.move_on_after(20) as scope:
                await machine.call("Echo.echo", 1)
            assert scope.cancelled_caught

            async def heal():
                await trio.sleep(10)
                faults.heal()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(heal)
                # Without retry: the call itself survives.
                assert await machine.call("Echo.echo", 2) == 2
            assert faults.injected == []

    run(test)


def test_faults_can_be_injected_from_any_thread():
    faults = Faults(kinds=[])
    with bm.Session(InProcessSystem(), plugins=[faults]) as session:
        [machine] = session.start(1, services=SERVICES)
        faults.inject(Fault.RESET)
        assert [i.fault for i in faults.injected] == [Fault.RESET]
        assert machine.with_options(retry=True).call("Echo.echo", 1) == 1
        faults.partition()
        threading.Timer(0.1, faults.heal).start()
        assert machine.call("Echo.echo", 2) == 2
    faults.inject(Fault.RESET)  # no connection is open
    assert len(faults.injected) == 1


def test_broken_stream_raises_transport_error_and_skips_no_item():
    async def test():
        faults = Faults(kinds=[])
        async with bm.AsyncSession(system(), plugins=[faults]) as session:
            [machine] = await session.start(1, services=SERVICES)
            taken = []
            with pytest.raises(bm.TransportError) as caught:  # noqa: PT012
                async for item in machine.stream("Echo.count", 10**9):
                    taken.append(item)
                    if item == 10_000:
                        faults.inject(Fault.DROP, direction=DOWN)
            assert caught.value.temporary
            assert len(taken) > 10_000
            assert taken == list(range(len(taken)))

    run(test)


@pytest.mark.parametrize("direction", [*Direction])
@pytest.mark.parametrize(
    "kind", [Fault.TRUNCATE, Fault.RESET, Fault.HALF_CLOSE, Fault.STALL, Fault.DELAY]
)
def test_interrupted_handshake_during_boot_is_repeated(kind, direction, caplog):
    class First(Faults):
        def plan(self, connection, way):
            applies = connection == 0 and way is direction
            return iter([Injection(0, way, 500, kind)] if applies else [])

    async def test():
        faults = First()
        async with bm.AsyncSession(system(), plugins=[faults]) as session:
            [machine] = await session.start(1, services=SERVICES)
            assert await machine.call("Echo.echo", 1) == 1
            assert [i.fault for i in faults.injected] == [kind]

    with caplog.at_level(logging.ERROR):
        run(test)
    assert caplog.records == []


def test_pending_replies_are_sent_before_machine_ends():
    async def main() -> None:
        faults = Faults(kinds=(), mean_delay=0.5)
        async with bm.AsyncSession(system(), plugins=[faults]) as session:
            [machine] = await session.start(1, services=SERVICES)
            faults.inject(Fault.DELAY, direction=DOWN)

            async def download() -> None:
                assert len(await machine.call("Echo.zeros", 4 << 20)) == 4 << 20

            async with trio.open_nursery() as nursery:
                nursery.start_soon(download)
                await wait_all_tasks_blocked()  # until all buffers between the two are full
                await machine.call("Supervisor.shutdown")

    run(main)


def test_system_with_unsupported_http_client_is_refused():
    class Other(InProcessSystem):
        def http_client(self, identity):
            return httpx.AsyncClient()

    async def test():
        with pytest.raises(bm.NotSupportedError, match="this system's is httpx.AsyncClient"):
            async with bm.AsyncSession(Other(), plugins=[Faults()]):
                pass

    run(test)


def test_faults_object_serves_only_one_session():
    async def test():
        faults = Faults()
        async with bm.AsyncSession(system(), plugins=[faults]):
            pass
        with pytest.raises(bm.UsageError, match="create another one"):
            async with bm.AsyncSession(system(), plugins=[faults]):
                pass

    run(test)
