"""Profiles of real local machines that compute π."""

from __future__ import annotations

import collections

import pytest

import bigmachine as bm
from bigmachine.profiling._top import top_rows
from examples.bigpi import CirclePI
from tests.support.services import Keeper
from tests.support.waiting import until

Machines = collections.namedtuple("Machines", "session all")


class Filler:
    """Fills tuples, slowly enough that somebody may look at one."""

    def setup(self, session: bm.PeerSession) -> None:
        self.is_over = False

    def fill(self) -> int:
        filled = 0
        while not self.is_over:
            filled += tuple(number for number in range(1000))[-1] == 999
        return filled

    @bm.concurrent
    def end(self) -> None:
        self.is_over = True


SERVICES = {"PI": CirclePI(), "Keeper": Keeper(), "Filler": Filler()}


@pytest.fixture(scope="module")
def machines():
    with bm.Session("local", maxprocs=1) as session:
        yield Machines(session, session.start(2, services=SERVICES))


@pytest.fixture(scope="module")
def computing(machines):
    """The same; from now on they compute."""
    for machine in machines.all:
        machine.submit("PI.sample", 10**12, "seed")
        until(lambda m=machine: m.variables()["bigmachine_calls_in_flight"].sum == 1)
    return machines


def test_machine_that_traces_from_its_start_shows_where_all_was_allocated(machines):
    environ = {"PYTHONTRACEMALLOC": "2"}
    [machine] = machines.session.start(1, services={"Keeper": Keeper()}, environ=environ)
    machine.call("Keeper.keep", 5 << 20)
    profile = machine.heap()
    [row] = [row for row in top_rows(profile) if row.frame.function == "Keeper.keep"]
    assert row.flat >= 5 << 20
    assert profile.machines == [machine.name]
    machine.shutdown()


def test_heap_leaves_tuples_alone_that_are_being_filled(machines):
    machine = machines.all[0]
    future = machine.submit("Filler.fill")
    machine.heap()
    machine.heap(seconds=0.05)
    machine.call("Filler.end")
    assert future.result() > 100  # Python breaks a tuple that somebody else refers to by then


def test_heap_of_all_machines_counts_by_type(machines):
    machines.all[1].call("Keeper.keep", 5 << 20)
    profile = machines.session.heap()
    assert profile.machines == [machine.name for machine in machines.all]
    sizes = [profile.filter(machine=machine.name) for machine in machines.all]
    found = [{s.stack[0].function: s.values[1] for s in each.samples} for each in sizes]
    assert found[1]["builtins.bytes"] - found[0]["builtins.bytes"] > 4 << 20


def of_work(take, machines):
    """Take profiles until one has so much of the work of each machine that this is seen in it."""

    def taken():
        profile = take()
        assert profile.machines == [machine.name for machine in machines]
        each = [profile.filter(machine=name).total("cpu") for name in profile.machines]
        return min(each) > 0.05e9 and profile  # on a busy computer, a machine may get less

    return until(taken)


def test_hottest_line_of_all_machines_is_in_the_method_that_computes(computing):
    profile = of_work(lambda: computing.session.profile(0.5), computing.all)
    for each in (profile, *(profile.filter(machine=name) for name in profile.machines)):
        hottest = top_rows(each, by="line")[0].frame
        assert hottest.function == "CirclePI.sample"
        assert hottest.file.endswith("bigpi.py")
        assert hottest.line > hottest.first_line
    first_line = CirclePI.sample.__code__.co_firstlineno
    assert f"CirclePI.sample  bigpi.py:{first_line}" in profile.top().splitlines()[2]


def test_one_machine_is_profiled_while_it_computes(computing):
    machine = computing.all[0]
    profile = of_work(lambda: machine.profile(0.2, hz=50), [machine])
    assert top_rows(profile)[0].frame.function == "CirclePI.sample"
