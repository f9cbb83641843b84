"""Profiles of real local machines that compute π."""

from __future__ import annotations

import collections

import pytest

import bigmachine as bm
from bigmachine.profiling._top import top_rows
from examples.bigpi import CirclePI


@pytest.fixture(scope="module")
def machines():
    with bm.Session("local", maxprocs=1) as session:
        machines = session.start(2, services={"PI": CirclePI()})
        futures = [machine.submit("PI.sample", 10**12, "seed") for machine in machines]
        yield Machines(session, machines)
        for future in futures:
            future.cancel()


Machines = collections.namedtuple("Machines", "session all")


def test_hottest_line_of_all_machines_is_in_the_method_that_computes(machines):
    profile = machines.session.profile(0.5)
    assert profile.machines == [machine.name for machine in machines.all]
    for each in (profile, *(profile.filter(machine=name) for name in profile.machines)):
        hottest = top_rows(each, by="line")[0].frame
        assert hottest.function == "CirclePI.sample"
        assert hottest.file.endswith("bigpi.py")
        assert hottest.line > hottest.first_line
    assert "CirclePI.sample  bigpi.py:37" in profile.top().splitlines()[2]


def test_one_machine_is_profiled_while_it_computes(machines):
    machine = machines.all[0]
    profile = machine.profile(0.2, hz=50)
    assert profile.machines == [machine.name]
    assert top_rows(profile)[0].frame.function == "CirclePI.sample"
