"""``variables()`` of machines and sessions: calls, users' metrics, what does not answer."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
import trio

import bigmachine as bm
from bigmachine.metrics import Metric, Variables
from bigmachine.testing import InProcessSystem
from tests.docs.markdown import ROOT, section
from tests.support.waiting import until

rows = bm.counter("test_rows")


class Service:
    def __init__(self) -> None:
        self.sizes = bm.histogram("test_size", unit="bytes")

    def read(self, n: int) -> int:
        rows.add(n)
        self.sizes.observe(n)
        return os.getpid()

    async def fail(self) -> None:
        raise ZeroDivisionError

    async def hang(self) -> None:
        await trio.sleep_forever()

    def items(self, n: int):
        yield from range(n)

    @bm.parallel
    def read_in_process(self, n: int) -> int:
        rows.labels(table="users").add(n)
        return os.getpid()

    @bm.parallel
    def read_and_wait(self, path: str) -> None:
        rows.labels(table="waits").add(7)
        until(lambda: os.path.exists(path))


def in_trio(function: Any) -> Any:
    def test() -> None:
        async def main() -> None:
            async with bm.AsyncSession(InProcessSystem()) as session:
                await function(session)

        trio.run(main)

    return test


async def once_in_flight(machine: bm.AsyncMachine, count: int) -> Variables:
    with trio.fail_after(60):
        while (values := await machine.variables())["bigmachine_calls_in_flight"].sum != count:
            await trio.sleep(0.01)
    return values


def outcomes(calls: Metric, method: str) -> dict[str, float]:
    return {name: one.sum for name, one in calls.select(method=method).by("outcome").items()}


@in_trio
async def test_calls_are_counted_by_method_and_outcome(session):
    [machine] = await session.start(1, services={"S": Service()})
    await machine.call("S.read", 3)
    await machine.call("S.read", n=4)
    with pytest.raises(ZeroDivisionError):
        await machine.call("S.fail")
    async with machine.stream("S.items", 3) as items:
        assert [item async for item in items] == [0, 1, 2]
    async with machine.stream("S.items", 10**9) as items:
        assert await anext(items) == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.call, "S.hang")
        values = await once_in_flight(machine, 1)
        assert values["bigmachine_calls_begun"].select(method="S.hang").sum == 1
        nursery.cancel_scope.cancel()
    values = await once_in_flight(machine, 0)
    ended = values["bigmachine_calls_ended"]
    assert outcomes(ended, "S.read") == {"returned": 2, "raised": 0, "cancelled": 0}
    assert outcomes(ended, "S.fail") == {"returned": 0, "raised": 1, "cancelled": 0}
    assert outcomes(ended, "S.hang") == {"returned": 0, "raised": 0, "cancelled": 1}
    assert outcomes(ended, "S.items") == {"returned": 1, "raised": 0, "cancelled": 1}
    seconds = values["bigmachine_call_seconds"]
    assert {method: one.count for method, one in seconds.by("method").items()} == {
        "S.read": 2,
        "S.fail": 1,
        "S.items": 1,
        "S.hang": 0,
    }
    assert 0 < seconds.min <= seconds.quantile(0.5) <= seconds.max
    assert values["bigmachine_received_bytes"].sum > 0
    assert values["bigmachine_sent_bytes"].sum > 0


@in_trio
async def test_machine_that_does_not_answer_is_named_and_the_rest_is_returned(session):
    machines = await session.start(2, services={"S": Service()})
    silent = machines[1]
    session.system.partition(silent)
    for timeout in (0.2, 2.0, 20.0):  # on a busy computer, the other one takes longer
        values = await session.variables(timeout=timeout)
        if values.machines:
            break
    assert list(values.machines) == [machines[0].name]
    assert values.missing == {silent.name: f"it did not answer within {timeout:g} s"}
    async with trio.open_nursery() as nursery:

        async def kill() -> None:
            session.system.kill(silent)
            session.system.heal(silent)  # so that the driver learns of it

        nursery.start_soon(kill)
        values = await session.variables(timeout=60)
    assert list(values.machines) == [machines[0].name]
    assert "killed" in values.missing[silent.name]


@in_trio
async def test_machine_that_starts_is_named(session):
    machines = await session.start(1, services={"S": Service()}, wait=False)
    values = await session.variables()
    assert values.missing[machines[0].name] in ("it is still UNSTARTED", "it is still STARTING")


@in_trio
async def test_machines_of_one_process_share_its_counters(session):
    machines = await session.start(3, services={"S": Service()})
    before = (await session.variables())["test_rows"].sum
    for machine in machines:
        await machine.call("S.read", 5)
    values = await session.variables()
    assert values["test_rows"].sum == before + 15
    assert values.driver["test_rows"].sum == before + 15
    assert values["bigmachine_calls_begun"].select(method="S.read").sum == 3
    assert values["bigmachine_maxprocs"].count == 3


@in_trio
async def test_wrong_timeout_is_refused(session):
    with pytest.raises(bm.UsageError, match="timeout"):
        await session.variables(timeout=-1)


@in_trio
async def test_each_metric_of_a_machine_is_documented_and_no_other(session):
    [machine] = await session.start(1, services={"S": Service()})
    await machine.call("S.read", 3)
    table = section(ROOT / "docs/metrics.md", "What each machine measures")
    documented = {
        name: kind
        for names, kind in re.findall(r"^\| (`.*?) \| (\w+) \|", table, re.M)
        for name in re.findall(r"`(bigmachine_\w+)`", names)
    }
    values = await machine.variables()
    own = {name: one.kind for name, one in values.items() if name.startswith("bigmachine_")}
    assert own == documented
    assert all(one.help for name, one in values.items() if name in own)
    assert all(name.endswith(one.unit) for name, one in values.items() if name in own)


def test_counts_of_parallel_methods_arrive_while_and_after_they_run(tmp_path):
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"S": Service()})
        pid = machine.call("S.read", 1)
        assert machine.call("S.read_in_process", 20) != pid
        machine.call("S.read_in_process", 20)
        values = session.variables()
        [mine] = values.machines.values()
        assert mine["test_rows"].select(table="users").sum == 40
        assert mine["test_rows"].sum == 41
        assert mine["bigmachine_received_bytes"].sum > mine["bigmachine_sent_bytes"].sum > 1000
        assert mine["bigmachine_processes"].sum == 2
        assert mine["bigmachine_cpu_seconds"].sum > 0
        assert mine["bigmachine_resident_memory_bytes"].sum > 1 << 20
        assert values.driver["bigmachine_threads"].sum >= 1

        file = tmp_path / "go"
        future = machine.submit("S.read_and_wait", str(file))
        until(lambda: session.variables()["test_rows"].select(table="waits").sum == 7)
        assert not future.done()
        file.touch()
        future.result()
        assert session.variables()["test_rows"].select(table="waits").sum == 7
