"""Calls and streams under all faults at once: each gives the right answer, or a named error.

Repeat a seed that failed: ``BIGMACHINE_FAULT_SEED=<seed> pytest tests/unit/testing``.
"""

from __future__ import annotations

import os
import random
import secrets
from collections import Counter

import pytest
import trio

import bigmachine as bm
from bigmachine.system import Keepalive
from bigmachine.testing import InProcessSystem
from bigmachine.testing.faults import Fault, Faults
from tests.support.clocks import jumping_clock
from tests.support.services import Echo

MIB = 1 << 20
LARGEST_BYTES = 2 * MIB
MEAN_BYTES = 2 * MIB  # one of seven calls of the largest size succeeds
# On real machines each attempt takes real time; one that stalls takes a second or more. So most
# calls of the largest size succeed at once: otherwise an unlucky seed would take minutes.
LOCAL_LARGEST_BYTES = MIB // 4
LOCAL_MEAN_BYTES = MIB
SEED = os.environ.get("BIGMACHINE_FAULT_SEED")
SEEDS = {"asked": int(SEED)} if SEED else {"fixed": 1, "random": secrets.randbits(32)}


class Numbering(Echo):
    async def numbered(self, n: int, item: bytes):
        for i in range(n):
            yield i, item


class QuickKeepalive:
    """Has stalls detected soon: after ``period`` plus twice ``rpc_timeout``."""

    def __init__(self, *, period: float, rpc_timeout: float, timeout: float) -> None:
        self.timings = Keepalive(period=period, rpc_timeout=rpc_timeout, timeout=timeout)

    @bm.hookimpl(wrapper=True)
    def keepalive(self):
        yield
        return self.timings


class Soak:
    """One run; its seed determines all calls and all faults."""

    def __init__(self, seed: int, *, mean_bytes: int, largest_bytes: int) -> None:
        self.faults = Faults(seed, mean_bytes=mean_bytes, mean_delay=0.02)
        self.largest_bytes = largest_bytes
        self.ended: Counter[str] = Counter()
        self.random = random.Random(seed)
        self.noise = self.random.randbytes(largest_bytes)

    async def run(
        self, system: object, quick: QuickKeepalive, *, machines: int, tasks: int, calls: int
    ):
        async with bm.AsyncSession(system, plugins=[quick, self.faults]) as session:
            started = [await self.start(session) for _ in range(machines)]
            async with trio.open_nursery() as nursery:
                for machine in started:
                    for _ in range(tasks):
                        draws = random.Random(self.random.random())
                        nursery.start_soon(self.use, machine, draws, calls)
            assert session.machines == started
        assert not self.ended["not temporary"]

    async def start(self, session: bm.AsyncSession) -> bm.AsyncMachine:
        while True:
            try:
                [machine] = await session.start(1, services={"Echo": Numbering()})
                return machine
            except bm.StartError:  # a fault hit its first connection
                self.ended["boot repeated"] += 1

    async def use(self, machine: bm.AsyncMachine, draws: random.Random, calls: int) -> None:
        for _ in range(calls):
            draw = draws.random()
            size = int(2 ** draws.uniform(0, self.largest_bytes.bit_length() - 0.5)) - 1
            if draw < 0.25:
                await self.stream(machine, n=draws.randrange(300), size=size >> 8)
            elif draw < 0.5:
                with trio.move_on_after(draws.expovariate(1 / 0.02)) as scope:
                    await self.echo(machine, draws, size)
                self.ended["cancelled"] += scope.cancelled_caught
            else:
                await self.echo(machine, draws, size)

    async def echo(self, machine: bm.AsyncMachine, draws: random.Random, size: int) -> None:
        start = draws.randrange(self.largest_bytes - min(size, self.largest_bytes - 1))
        value = self.noise[start : start + size]
        assert await machine.with_options(retry=True).call("Echo.echo", (start, value)) == (
            start,
            value,
        )
        self.ended["answered"] += 1

    async def stream(self, machine: bm.AsyncMachine, *, n: int, size: int) -> None:
        item, taken = self.noise[:size], 0
        try:
            async with machine.stream("Echo.numbered", n, item) as stream:
                async for number, got in stream:
                    assert (number, got) == (taken, item)
                    taken += 1
        except bm.TransportError as exc:
            self.ended["stream broken" if exc.temporary else "not temporary"] += 1
        else:
            assert taken == n
            self.ended["stream done"] += 1

    def report(self) -> None:
        kinds = Counter(str(injection.fault) for injection in self.faults.injected)
        print(f"{self.faults!r}: {dict(self.ended)}, injected {dict(kinds)}")


@pytest.fixture(params=["fixed", pytest.param("random", marks=pytest.mark.long)])
def soak(request):
    is_local = "local" in request.function.__name__
    soak = Soak(
        SEEDS[request.param],
        mean_bytes=LOCAL_MEAN_BYTES if is_local else MEAN_BYTES,
        largest_bytes=LOCAL_LARGEST_BYTES if is_local else LARGEST_BYTES,
    )
    print(f"to repeat this run: BIGMACHINE_FAULT_SEED={soak.faults.seed}")
    yield soak
    soak.report()


def test_every_call_in_process_is_answered_under_all_faults(soak):
    async def test():
        with trio.fail_after(24 * 3600):  # of the mock clock's
            quick = QuickKeepalive(period=5, rpc_timeout=1, timeout=3600)
            await soak.run(InProcessSystem(), quick, machines=2, tasks=4, calls=20)

    trio.run(test, clock=jumping_clock(0.01))
    assert len(soak.faults.injected) > 5
    assert soak.ended["answered"] > 20


@pytest.mark.long
def test_every_call_on_local_machines_is_answered_under_all_faults(soak):
    async def test():
        with trio.fail_after(90):
            quick = QuickKeepalive(period=0.2, rpc_timeout=0.5, timeout=60)
            await soak.run("local", quick, machines=3, tasks=4, calls=16)

    trio.run(test)
    assert soak.faults.injected
    assert soak.ended["answered"] > 10


def test_soak_tests_inject_every_kind_of_fault():
    assert set(Faults().kinds) == set(Fault)
