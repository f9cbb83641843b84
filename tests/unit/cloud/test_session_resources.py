"""All that a session has is freed at its end, and immortal instances are left and told."""

from __future__ import annotations

import dataclasses

import pytest
import trio

from bigmachine import MachineChanged, State
from bigmachine.cloud import SessionResources
from bigmachine.errors import MachineStopped, StopReason
from bigmachine.system import Instance, VmOptions

from .provider import Refused

SESSION = "main-0123abcd.bigmachine"


@dataclasses.dataclass
class Vm:
    id: str
    has_ended: bool = False


class Resources(SessionResources[Vm]):
    system = "madeup"

    def __init__(self, options):
        super().__init__(options)
        self.session = SESSION
        self.vms = {}
        self.steps = []
        self.failing = ""

    def _step(self, name, *ids):
        self.steps.append((name, *ids))
        if name == self.failing:
            raise Refused("DOWN")

    async def find(self):
        self._step("find")
        return [*self.vms.values()]

    async def describe(self, id):
        return self.vms.get(id)

    async def terminate(self, ids):
        self._step("terminate", *sorted(ids))
        self.vms = {id: vm for id, vm in self.vms.items() if id not in ids}

    async def find_ours(self, instance):
        return instance.id if instance.id in self.vms else ""

    async def free_leftover(self, resource):
        return resource.kind != "instance"

    async def free_leftovers(self):
        self._step("free_leftovers")

    async def free_requests(self):
        self._step("free_requests")


def launched(options=None, *, ended=()):
    """Return the resources of a session with machines m0 and m1, and an instance of nobody."""
    made = Resources(options or VmOptions())
    made.vms = {id: Vm(id, id in ended) for id in ("zones/a/i-0", "zones/a/i-1", "zones/a/i-lost")}
    made.add({f"m{n}.{SESSION}": f"zones/a/i-{n}" for n in (0, 1)})
    return made


ALL = ("terminate", "zones/a/i-0", "zones/a/i-1", "zones/a/i-lost")


def test_end_of_a_session_terminates_also_what_is_only_found_by_its_tags():
    made = launched()
    trio.run(made.free)
    assert made.steps == [("free_requests",), ("find",), ALL, ("free_leftovers",)]
    assert (made.vms, made.ids, made.session) == ({}, {}, "")


@pytest.mark.parametrize("failing", ["free_requests", "find", "terminate", "free_leftovers"])
def test_end_that_fails_frees_what_it_can_and_can_be_tried_again(failing):
    made = launched()
    made.unconfirmed = {"zones/a/i-lost"}
    made.failing = failing
    with pytest.raises(Refused):
        trio.run(made.free)
    assert made.session == SESSION
    assert ALL in made.steps  # instances cost most
    assert (("free_leftovers",) in made.steps) is failing.startswith("free")
    made.steps, made.failing = [], ""
    trio.run(made.free)
    assert [step for step, *_ in made.steps][-2:] == ["terminate", "free_leftovers"]
    assert (made.vms, made.session, made.unconfirmed) == ({}, "", set())


def test_immortal_instances_are_left_with_their_firewall_and_told(caplog):
    made = launched(VmOptions(immortal=True, lifetime=3600.0))
    [started] = [r.getMessage() for r in caplog.records]
    assert started == (
        f"immortal machines outlive their session and their driver: m0 (i-0), m1 (i-1); they are "
        f"billed until you run: bigmachine reap madeup {SESSION} (or until their lifetime of "
        f"3600 s ends)"
    )
    assert made.is_immortal(Instance(f"m0.{SESSION}", ""))
    assert not made.is_immortal(Instance("m0.other-0123abcd.bigmachine", ""))
    caplog.clear()
    trio.run(made.free)
    assert made.steps == [("free_requests",), ("find",), ("terminate", "zones/a/i-lost")]
    [left] = [r.getMessage() for r in caplog.records]
    assert "LEAVES RUNNING, because they are immortal: m0 (i-0), m1 (i-1), and its firewall" in left
    assert all(r.name == "bigmachine.madeup" for r in caplog.records)


def test_firewall_of_immortal_instances_that_have_all_ended_is_freed(caplog):
    made = launched(VmOptions(immortal=True, lifetime=3600.0), ended=("zones/a/i-0", "zones/a/i-1"))
    caplog.clear()
    trio.run(made.free)
    assert made.steps == [("free_requests",), ("find",), ALL, ("free_leftovers",)]
    assert not caplog.records


@pytest.mark.parametrize(
    ("reason", "units", "ended"),
    [
        (StopReason.SHUTDOWN, (), {"zones/a/i-1"}),
        (StopReason.IDLE, (), {"zones/a/i-1"}),
        (StopReason.KEEPALIVE, (), set()),
        (StopReason.SHUTDOWN, ("/own.service",), set()),
    ],
)
def test_machines_that_the_driver_has_ended_need_no_shutdown_of_their_system(reason, units, ended):
    made = launched(VmOptions(units=units))
    error = MachineStopped("it ended", machine="m1", reason=reason)
    made.note(MachineChanged("m1", "", State.STOPPED, error))
    assert made.ended == ended


def test_id_is_that_of_the_instance_or_of_its_machine():
    made = launched()
    assert made.id_of(Instance(f"m1.{SESSION}", "")) == "zones/a/i-1"
    assert made.id_of(Instance("any", "", id="i-7")) == "i-7"
    assert made.id_of(Instance("any", "")) == ""


@pytest.mark.parametrize(
    ("instance", "left", "steps"),
    [
        (Instance(f"m0.{SESSION}", ""), {"m1"}, [("terminate", "zones/a/i-0")]),
        (Instance("", "", id="zones/a/i-lost"), {"m0", "m1"}, [("terminate", "zones/a/i-lost")]),
        (Instance("", "", id="zones/a/i-other"), {"m0", "m1"}, []),
        (Instance("", "", id="disk", details={"kind": "disk"}), {"m0", "m1"}, []),
    ],
    ids=["by name", "another session's", "nobody's", "a disk"],
)
def test_stop_terminates_what_a_session_has_launched(instance, left, steps):
    made = launched()
    trio.run(made.stop, instance)
    assert ({name.partition(".")[0] for name in made.ids}, made.steps) == (left, steps)


def test_stop_leaves_immortal_machines_of_this_session():
    made = launched(VmOptions(immortal=True, lifetime=3600.0))
    trio.run(made.stop, Instance(f"m0.{SESSION}", "", id="zones/a/i-0"))
    assert made.steps == []
    trio.run(made.stop, Instance("", "", id="zones/a/i-lost"))
    assert made.steps == [("terminate", "zones/a/i-lost")]
