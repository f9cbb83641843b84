"""Machines in network namespaces, as a session uses them: over network interfaces and a switch."""

from __future__ import annotations

import ipaddress
import os
import signal
import subprocess
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

import bigmachine as bm
from tests.examples.netns.conftest import Computer
from tests.examples.netns.netns_services import Host
from tests.support.processes import is_running
from tests.support.waiting import eventually

pytestmark = pytest.mark.long

SERVICES = {"Host": Host()}
QUICK = bm.Keepalive(period=0.2, timeout=2.0, rpc_timeout=0.5)
SWITCH = "bigmachine-switch"


class Watch:
    """A wrapper with quick keepalives that notices when one gets no response.

    With ``ignorant`` the system does not know that a machine has ended, like a provider that the
    driver cannot reach either.
    """

    def __init__(self, *, ignorant: bool = False) -> None:
        self.is_silent = trio.Event()
        self._ignorant = ignorant

    @bm.hookimpl(wrapper=True)
    def keepalive(self) -> Any:
        yield
        return QUICK

    @bm.hookimpl(wrapper=True)
    def keepalive_failed(self) -> Any:
        self.is_silent.set()
        asking = yield

        async def answer() -> bm.Termination | None:
            gone = await asking
            return None if self._ignorant else gone

        return answer()


def session(
    computer: Computer, *plugins: object, **options: Any
) -> AbstractAsyncContextManager[bm.AsyncSession]:
    from bigmachine_netns import NetnsOptions, NetnsSystem

    system = NetnsSystem(NetnsOptions(**options))
    return bm.AsyncSession(system, name=computer.mark, plugins=plugins)


def address(machine: bm.AsyncMachine) -> str:
    return machine.addr.removeprefix("https://").partition(":")[0]


def at_switch(command: str) -> subprocess.CompletedProcess[str]:
    tool, *words = command.split()
    return subprocess.run([tool, "-n", SWITCH, *words], capture_output=True, text=True)


def set_link(machine: bm.AsyncMachine, way: str) -> None:
    """Disconnect a machine from the network, or connect it again: ``"down"``, ``"up"``."""
    assert at_switch(f"ip link set {address(machine)} {way}").returncode == 0


def test_driver_and_machines_can_call_machines(computer: Computer) -> None:
    async def main() -> None:
        async with session(computer) as s:
            first, second, third = await s.start(3, services=SERVICES)
            assert await first.call("Host.echo", "hello") == "hello"
            assert await second.call("Host.ask", third.addr, "over there") == "over there"
            assert await third.call("Host.ask", second.addr, "and back") == "and back"

    trio.run(main)


def test_each_machine_is_host_with_its_own_address(computer: Computer) -> None:
    async def main() -> None:
        async with session(computer, subnet="10.214.7.0/24") as s:
            machines = await s.start(3, services=SERVICES)
            assert len(set(map(address, machines))) == 3
            for machine in machines:
                assert await machine.call("Host.interfaces") == {
                    "lo": ["127.0.0.1/8"],
                    "eth0": [f"{address(machine)}/24"],
                }
                subnet = ipaddress.ip_network("10.214.7.0/24")
                assert ipaddress.ip_address(address(machine)) in subnet

    trio.run(main)


def test_calls_cross_the_network_interfaces(computer: Computer) -> None:
    def received() -> int:
        return int(Path("/sys/class/net/bigmachine0/statistics/rx_bytes").read_text())

    async def main() -> None:
        async with session(computer) as s:
            [machine] = await s.start(1, services=SERVICES)
            before = received()
            assert len(await machine.call("Host.echo", os.urandom(1 << 20))) == 1 << 20
            assert received() - before > 1 << 20

    trio.run(main)


def test_calls_survive_partition_shorter_than_keepalive_timeout(
    computer: Computer,
) -> None:
    async def main() -> None:
        watch = Watch()
        async with session(computer, watch) as s, trio.open_nursery() as nursery:
            [machine] = await s.start(1, services=SERVICES)
            answers: list[object] = []

            async def call(value: int) -> None:
                answers.append(await machine.call("Host.slow_echo", value, 0.3))

            nursery.start_soon(call, 1)
            set_link(machine, "down")
            nursery.start_soon(call, 2)
            with trio.fail_after(QUICK.timeout):
                await watch.is_silent.wait()
            set_link(machine, "up")
            await eventually(lambda: sorted(answers) == [1, 2])
            assert await machine.call("Host.echo", 3) == 3
            assert machine.state is bm.State.RUNNING

    trio.run(main)


def test_longer_partition_stops_machine_and_frees_namespace(computer: Computer) -> None:
    async def main() -> None:
        async with session(computer, Watch(ignorant=True)) as s:
            [machine, other] = await s.start(2, services=SERVICES)
            pid = await machine.call("Host.pid")
            set_link(machine, "down")
            with pytest.raises(bm.MachineStopped) as stopped, trio.fail_after(60):
                await machine.call("Host.echo", 1)
            assert stopped.value.reason is bm.StopReason.KEEPALIVE
            await machine.shutdown()  # returns when it is freed
            assert not is_running(pid)
            assert len(computer.namespaces()) == 1
            assert await other.call("Host.echo", 1) == 1

    trio.run(main)


def test_partitioned_machines_reach_each_other_after_repair(computer: Computer) -> None:
    async def main() -> None:
        async with session(computer) as s:
            first, second = await s.start(2, services=SERVICES)
            assert await first.call("Host.reaches", address(second))
            set_link(second, "down")
            assert not await first.call("Host.reaches", address(second))
            set_link(second, "up")
            with trio.fail_after(60):
                while not await first.call("Host.reaches", address(second)):
                    pass  # the network needs a moment
            assert await first.call("Host.ask", second.addr, 1) == 1
            assert await second.call("Host.echo", 2) == 2  # and the driver reaches it too

    trio.run(main)


def test_calls_succeed_on_network_with_high_latency(computer: Computer) -> None:
    async def main() -> None:
        async with session(computer) as s:
            [machine] = await s.start(1, services=SERVICES)
            shape = "root netem delay 100ms"
            shaping = at_switch(f"tc qdisc add dev {address(machine)} {shape}")
            if shaping.returncode:
                pytest.skip(f"this kernel can't delay: {shaping.stderr.splitlines()[0]}")
            began = time.perf_counter()
            assert await machine.call("Host.echo", 1) == 1
            assert time.perf_counter() - began >= 0.1

    trio.run(main)


def test_calls_succeed_on_network_with_low_bandwidth(computer: Computer) -> None:
    async def main() -> None:
        async with session(computer) as s:
            [machine] = await s.start(1, services=SERVICES)
            shape = "root tbf rate 16mbit burst 32k latency 400ms"
            shaping = at_switch(f"tc qdisc add dev {address(machine)} {shape}")
            if shaping.returncode:
                pytest.skip(f"this kernel can't limit bandwidth: {shaping.stderr.splitlines()[0]}")
            began = time.perf_counter()
            data = os.urandom(1 << 20)
            assert await machine.call("Host.echo", data) == data
            assert time.perf_counter() - began >= 0.4  # 8 Mbit at 16 Mbit a second

    trio.run(main)


def test_namespace_of_crashed_machine_is_freed(computer: Computer) -> None:
    async def main() -> None:
        async with session(computer) as s:
            machine, other = await s.start(2, services=SERVICES)
            with pytest.raises(bm.MachineStopped) as stopped:
                await machine.call("Host.crash")
            assert stopped.value.reason is bm.StopReason.EXITED
            await eventually(lambda: len(computer.namespaces()) == 1)
            assert await other.call("Host.echo", 1) == 1

    trio.run(main)


@pytest.mark.parametrize("how", ["freeze", "hold_interpreter"])
def test_hung_machine_is_stopped_with_its_processes(computer: Computer, how: str) -> None:
    async def main() -> None:
        async with session(computer, Watch()) as s:
            [machine] = await s.start(1, services=SERVICES)
            pids = [await machine.call("Host.pid"), await machine.call("Host.start_detached")]
            await machine.call(f"Host.{how}")
            with trio.fail_after(60):
                await machine.wait(bm.State.STOPPED)
                await machine.shutdown()
            assert not any(map(is_running, pids))
            assert computer.leftovers() == []

    trio.run(main)


def test_start_with_too_few_addresses_starts_fewer_machines(
    computer: Computer,
) -> None:
    async def main() -> None:
        async with session(computer, subnet="10.214.8.0/29") as s:  # room for five
            [machine] = await s.start(1, services=SERVICES)
            assert len(await s.start(5, services=SERVICES)) == 4
            with pytest.raises(bm.StartError, match="every address of the subnet is taken"):
                await s.start(1, services=SERVICES)
            assert len(computer.namespaces()) == 5
            assert await machine.call("Host.echo", 1) == 1

    trio.run(main)


def test_start_cancelled_at_any_time_leaves_nothing(computer: Computer) -> None:
    async def main() -> None:
        async with session(computer) as s:
            for milliseconds in range(0, 120, 10):
                with trio.move_on_after(milliseconds / 1000):
                    await s.start(3, services=SERVICES)
                for machine in s.machines:  # if the start was completed before
                    await machine.shutdown()
                # What was cancelled while it booted is freed in the background.
                await eventually(lambda: computer.namespaces() == [])

    trio.run(main)


def test_concurrent_starts_use_different_addresses(computer: Computer) -> None:
    async def main() -> None:
        async with session(computer) as one, session(computer) as two:
            machines: list[bm.AsyncMachine] = []

            async def start(s: bm.AsyncSession) -> None:
                machines.extend(await s.start(2, services=SERVICES))

            async with trio.open_nursery() as nursery:
                for s in (one, two, one, two):
                    nursery.start_soon(start, s)
            assert len(set(map(address, machines))) == 8
            for machine in machines:
                assert await machine.call("Host.echo", 1) == 1

    trio.run(main)


def test_host_whose_script_was_killed_can_be_reaped(computer: Computer) -> None:
    from bigmachine_netns import NetnsSystem

    async def main() -> None:
        async with session(computer) as s:
            [machine] = await s.start(1, services=SERVICES)
            for pid in computer.processes():  # only an administrator would do that
                if b"machine.sh" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
            reaper = NetnsSystem()
            [found] = [i for i in await reaper.instances() if computer.mark in i.id]
            assert found.addr == machine.addr
            await reaper.stop(found)
            assert computer.namespaces() == []
            await reaper.stop(found)

    trio.run(main)


def test_output_of_machines_reaches_driver_and_nothing_else(
    computer: Computer, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with session(computer) as s:
            [machine] = await s.start(1, services=SERVICES)
            await machine.call("Host.say", "hello")

    trio.run(main)
    assert capfd.readouterr() == ("", "m0: hello\n")
