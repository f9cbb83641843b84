"""A connection may fall silent while its machine runs; and a machine may hang."""

from __future__ import annotations

import contextlib
import logging

import pytest
import trio

import bigmachine as bm
from bigmachine.testing import InProcessOptions, InProcessSystem
from bigmachine.testing.faults import Direction, Fault, Faults
from tests.support.clocks import jumping_clock
from tests.support.services import Echo

PERIOD, TIMEOUT, RPC_TIMEOUT = 60.0, 300.0, 10.0
# One keepalive gets no answer, and one is answered only on a new connection.
LONGEST_HANG = PERIOD + 2 * RPC_TIMEOUT + 1


class Connections:
    """Counts dials and open connections, and loses the answers to the first dials."""

    def __init__(self, *, lost_dials: int = 0) -> None:
        self.lost_dials = lost_dials
        self.open = self.dials = 0

    @bm.hookimpl(wrapper=True)
    def http_client(self):
        client = yield
        connect = client.connect

        async def counted(host, port):
            self.dials += 1
            if self.dials <= self.lost_dials:
                await trio.sleep_forever()
            stream = await connect(host, port)
            self.open += 1
            aclose = stream.aclose

            async def closed():
                if stream.aclose is closed:
                    stream.aclose = aclose
                    self.open -= 1
                await aclose()

            stream.aclose = closed
            return stream

        client.connect = counted
        return client


class KeepaliveAnswer:
    """Replaces the system's answer to why a machine is gone."""

    def __init__(self, gone: bm.Termination | None) -> None:
        self.gone = gone

    @bm.hookimpl(wrapper=True)
    def keepalive_failed(self):
        asking = yield

        async def ask():
            await asking
            return self.gone

        return ask()


class Scenario:
    """A session on one in-process machine, with faults in its connections."""

    def __init__(self) -> None:
        options = InProcessOptions(
            keepalive_period=PERIOD, keepalive_timeout=TIMEOUT, rpc_timeout=RPC_TIMEOUT
        )
        self.system = InProcessSystem(options)
        self.faults = Faults(kinds=[])
        self.connections = Connections()

    @contextlib.asynccontextmanager
    async def machine(self, *plugins):
        plugins = [self.connections, self.faults, *plugins]
        async with bm.AsyncSession(self.system, plugins=plugins) as session:
            [machine] = await session.start(1, services={"Echo": Echo()})
            yield machine


@pytest.fixture
def run():
    def run(test) -> None:
        trio.run(test, Scenario(), clock=jumping_clock())

    return run


async def fails(machine, method, *args) -> float:
    """Call; assert that the connection fails; return how long that took."""
    began = trio.current_time()
    with pytest.raises(bm.TransportError) as caught:
        await machine.call(method, *args)
    assert caught.value.temporary
    return trio.current_time() - began


@pytest.mark.parametrize("direction", [Direction.UP, Direction.DOWN, None])
def test_silent_connection_of_running_machine_is_replaced(run, direction, caplog):
    async def test(scenario):
        async with scenario.machine() as machine:
            scenario.faults.inject(Fault.STALL, direction=direction)
            assert await fails(machine, "Echo.late", 10_000) <= LONGEST_HANG
            assert machine.state == bm.State.RUNNING
            began = trio.current_time()
            assert await machine.call("Echo.echo", 1) == 1
            assert trio.current_time() == began
            assert scenario.connections.open == 1
        assert "m0: its connection was silent" in caplog.text

    with caplog.at_level(logging.WARNING):
        run(test)


def test_retried_call_uses_new_connection(run):
    async def test(scenario):
        async with scenario.machine() as machine:
            scenario.faults.inject(Fault.STALL)
            began = trio.current_time()
            assert await machine.with_options(retry=True).call("Echo.echo", 1) == 1
            assert trio.current_time() - began <= LONGEST_HANG

    run(test)


def test_each_of_several_silent_connections_is_replaced(run):
    async def test(scenario):
        async with scenario.machine() as machine:
            for _ in range(5):
                scenario.faults.inject(Fault.STALL)
                assert await fails(machine, "Echo.late", 10_000) <= LONGEST_HANG
            assert await machine.call("Echo.echo", 1) == 1
            assert (scenario.connections.dials, scenario.connections.open) == (6, 1)

    run(test)


def test_pending_call_survives_partition_shorter_than_timeout(run, caplog):
    async def test(scenario):
        async with scenario.machine() as machine:

            async def part():
                scenario.faults.partition()
                await trio.sleep(TIMEOUT - 2 * PERIOD)
                scenario.faults.heal()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(part)
                assert await machine.call("Echo.late", 10) == "here"
            await trio.sleep(TIMEOUT)
            assert machine.state == bm.State.RUNNING
            assert scenario.connections.open == 1
        assert caplog.text.count("replaced") == 0

    run(test)


def test_pending_call_survives_if_its_connection_answers_after_new_one(run):
    async def test(scenario):
        async with scenario.machine() as machine:
            call_began = trio.current_time()

            async def part():
                scenario.faults.partition()
                scenario.faults.mean_delay = 0.0
                await trio.sleep(PERIOD + 2 * RPC_TIMEOUT)
                # TCP sends the lost bytes again, but only after a while.
                for stream in scenario.faults._streams:
                    stream._mean_delay = 0.7 * RPC_TIMEOUT
                scenario.faults.inject(Fault.DELAY, direction=Direction.DOWN)
                scenario.faults.heal()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(part)
                assert await machine.call("Echo.late", 10) == "here"
            assert trio.current_time() - call_began > PERIOD + 2.5 * RPC_TIMEOUT
            await trio.sleep(RPC_TIMEOUT)
            assert scenario.connections.dials > 1
            assert scenario.connections.open == 1  # the new one was closed again

    run(test)


def test_machine_that_answers_on_no_connection_is_stopped_after_timeout(run):
    async def test(scenario):
        async with scenario.machine(KeepaliveAnswer(None)) as machine:
            scenario.system.partition(machine)
            silent_since = trio.current_time()
            with pytest.raises(bm.MachineStopped) as caught:
                await machine.call("Echo.late", 10_000)
            assert caught.value.reason is bm.StopReason.KEEPALIVE
            silence = trio.current_time() - silent_since
            assert TIMEOUT - PERIOD <= silence <= TIMEOUT + RPC_TIMEOUT
            scenario.system.heal(machine)
        assert scenario.connections.open == 0

    run(test)


def test_silent_machine_that_system_reports_gone_is_stopped_at_once(run):
    async def test(scenario):
        gone = bm.Termination(bm.StopReason.EXITED, "deleted by somebody")
        async with scenario.machine(KeepaliveAnswer(gone)) as machine:
            scenario.faults.inject(Fault.STALL)
            with pytest.raises(bm.MachineStopped, match="deleted by somebody"):
                await machine.call("Echo.late", 10_000)
            assert trio.current_time() <= PERIOD + RPC_TIMEOUT + 1
            assert scenario.connections.dials == 1  # no second connection was needed

    run(test)


def test_shutdown_over_silent_connection_takes_bounded_time(run):
    async def test(scenario):
        async with scenario.machine() as machine:
            scenario.faults.inject(Fault.STALL)
            began = trio.current_time()
            await machine.shutdown()
            assert trio.current_time() - began <= RPC_TIMEOUT + 1

    run(test)


def test_lost_dial_during_boot_is_repeated_long_before_boot_timeout(run):
    async def test(scenario):
        scenario.connections.lost_dials = 2
        async with scenario.machine() as machine:
            assert trio.current_time() <= 2 * RPC_TIMEOUT + 1
            assert await machine.call("Echo.echo", 1) == 1

    run(test)


def test_failed_dial_of_peer_is_repeated(run):
    class Caller:
        async def setup(self, session):
            self.session = session

        async def call(self, addr):
            peer = await self.session.connect(addr)
            return await peer.call("Echo.echo", "hello")

    async def test(scenario):
        async with bm.AsyncSession(scenario.system) as session:
            one, other = await session.start(2, services={"Caller": Caller(), "Echo": Echo()})
            scenario.system.partition(other)

            async def heal():
                await trio.sleep(4 * RPC_TIMEOUT)
                scenario.system.heal(other)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(heal)
                assert await one.call("Caller.call", other.addr) == "hello"
            assert trio.current_time() >= 4 * RPC_TIMEOUT

    run(test)
