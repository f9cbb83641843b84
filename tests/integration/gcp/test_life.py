"""Instances are watched, listed and freed; nothing is left, whatever fails."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
import trio

from bigmachine.boot import Driver
from bigmachine.errors import (
    BigmachineError,
    IncompleteListError,
    StartError,
    StopReason,
    UsageError,
)
from bigmachine.system import Instance
from bigmachine_gcp import GcpOptions, GcpSystem
from bigmachine_gcp.options._labels import description
from tests.support.gcp.errors import GceError
from tests.support.gcp.gce import REGION, ZONE
from tests.support.waiting import eventually

SESSION = "test-0123abcd.bigmachine"
DENIED = GceError(403, "forbidden", "Required 'compute.instances.get' permission for 'projects/p'")
UNAVAILABLE = GceError(503, "backendError", "The service is currently unavailable.")
OTHER_ZONE = f"{REGION}-b"


def names(gce) -> list[str]:
    return [vm.name for vm in gce.vms()]


# -- watch ----------------------------------------------------------------------------


def test_running_instance_has_not_ended(run, gce):
    async def test(kit):
        [instance] = await kit.start()
        assert await kit.system.keepalive_failed(instance) is None

    run(test)


@pytest.mark.parametrize(
    ("event", "reason", "detail", "says"),
    [
        (
            "preempt",
            StopReason.INTERRUPTED,
            "Compute Engine preempted the spot instance",
            "compute.instances.preempted: Instance was preempted.",
        ),
        (
            "power_off",
            StopReason.EXITED,
            "it powered itself off",
            "compute.instances.guestTerminate",
        ),
    ],
)
def test_ended_instance_has_the_reason_of_its_zones_operations(
    run, gce, event, reason, detail, says
):
    async def test(kit):
        [instance] = await kit.start()
        getattr(gce, event)(instance.id)
        gone = await until_gone(kit.system, instance)
        assert gone.reason is reason
        assert gone.detail.startswith(detail)
        assert f"Compute Engine says {says}" in gone.detail

    run(test)


@pytest.mark.long
def test_end_of_the_lifetime_is_the_reason(run, gce):
    async def test(kit):
        [instance] = await kit.start()
        gce.advance(3600.0)
        gone = await until_gone(kit.system, instance)
        assert gone.reason is StopReason.GONE
        assert gone.detail.startswith("its lifetime was over")

    run(test, lifetime=3600.0)


@pytest.mark.long
@pytest.mark.parametrize(("verb", "said"), [("delete", "deleted"), ("stop", "stopped")])
def test_instance_that_somebody_ended_has_their_name(run, gce, verb, said):
    async def test(kit):
        [instance] = await kit.start()
        api = kit.api
        await api.change_and_wait(f"instances.{verb}", zone=instance.zone, instance=instance.id)
        await api.close()
        gone = await until_gone(kit.system, instance)
        assert gone.reason is StopReason.GONE
        assert gone.detail.startswith(f"somebody {said} it (Compute Engine says {verb} by ")
        assert "@" in gone.detail
        await kit.system.stop(instance)
        assert gce.vms() == []

    run(test)


@pytest.mark.long
def test_reason_is_unknown_if_operations_may_not_be_listed(run, gce, monkeypatch):
    # It may be deleted at once.
    monkeypatch.setattr("bigmachine_gcp.resources._vms._NEW_SECONDS", 0.0)

    async def test(kit):
        [instance] = await kit.start()
        gce.refuse_always("zoneOperations.list", DENIED)
        gce.preempt(instance.id)
        gone = await until_gone(kit.system, instance)
        assert gone.reason is StopReason.GONE
        assert ", and why is unknown: Required" in gone.detail

    run(test)


@pytest.mark.long
def test_instance_that_was_new_when_it_was_not_found_has_not_ended(run, gce, monkeypatch):
    def grow_old(_):
        monkeypatch.setattr("bigmachine_gcp.resources._vms._NEW_SECONDS", 0.0)
        return True

    async def test(kit):
        [instance] = await kit.start()
        not_found = GceError(404, "notFound", "The resource was not found")
        gce.refuse("instances.get", not_found, when=grow_old)
        assert await kit.system.keepalive_failed(instance) is None
        unknown = Instance(f"m9.{SESSION}", "", id="bm-test-0123abcd-m9", zone=ZONE)
        assert "no longer has it" in (await kit.system.keepalive_failed(unknown)).detail

    run(test)


@pytest.mark.long
def test_state_is_unknown_if_its_zone_cannot_be_reached(run, gce, caplog):
    async def test(kit):
        [instance] = await kit.start()
        gce.refuse("instances.get", DENIED)
        assert await kit.system.keepalive_failed(instance) is None
        assert "m0.test-0123abcd.bigmachine: the state of the instance is unknown" in caplog.text

    run(test)


@pytest.mark.usefixtures("consistent")
def test_many_silent_machines_are_looked_at_by_few_requests(run, gce):
    async def test(kit):
        instances = await kit.start(20)
        gce.preempt(instances[7].id)
        await eventually(lambda: len(gce.vms()) == 19)
        before = gce.count("instances.list") + gce.count("instances.get")
        found = {}

        async def ask(instance):
            found[instance.name] = await kit.system.keepalive_failed(instance)

        async with trio.open_nursery() as nursery:
            for instance in instances:
                nursery.start_soon(ask, instance)
        assert [name for name, gone in found.items() if gone] == [instances[7].name]
        assert gce.count("instances.list") + gce.count("instances.get") - before <= 2

    run(test)


@pytest.mark.long
def test_dead_zone_does_not_hide_the_state_of_instances_elsewhere(run, gce):
    async def test(kit):
        system = await kit.setup()
        instances = [*await system.start(2, kit.request), *await system.start(2, kit.request)]
        dead = [i for i in instances if i.zone == ZONE]
        alive = [i for i in instances if i.zone == OTHER_ZONE]
        assert len(dead) == len(alive) == 2
        gce.preempt(alive[0].id)
        gce.unreachable_zones.add(ZONE)
        gone = await until_gone(system, alive[0])
        assert gone.reason is StopReason.INTERRUPTED
        gce.unreachable_zones.clear()

    gce.capacity["spot n2-standard-2 us-central1-a"] = 2
    run(test, zones=[ZONE, OTHER_ZONE])


async def until_gone(system, instance):
    """Return why an instance is gone, as soon as the system says so: new ones get some time."""
    while True:
        if gone := await system.keepalive_failed(instance):
            return gone
        await trio.sleep(0.01)


def test_console_is_the_first_serial_port(run, gce):
    async def test(kit):
        [instance] = await kit.start()
        [vm] = gce.vms()
        vm.console = "Linux version 6.12\n"
        assert await kit.system.console(instance) == "Linux version 6.12\n"

    run(test)


# -- stop, and find what is left ------------------------------------------------------


def test_stop_deletes_only_its_instance_and_waits_for_it(run, gce):
    async def test(kit):
        one, other = await kit.start(2)
        await kit.system.stop(one)
        assert names(gce) == [other.id]
        await kit.system.stop(one)
        await kit.system.stop(Instance(one.name, ""))
        await kit.system.stop(Instance(f"m7.{SESSION}", ""))
        assert await kit.system.keepalive_failed(other) is None

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize("known", ["name", "id"])
def test_another_process_stops_an_instance_by_its_name_or_id(run, gce, known):
    async def test(kit):
        one, other = await kit.start(2)
        reaper = GcpSystem(kit.options)
        stopped = Instance(one.name, "") if known == "name" else Instance("", "", id=one.id)
        await reaper.stop(stopped)
        assert names(gce) == [other.id]
        await reaper.shutdown()

    run(test)


@pytest.mark.long
def test_stop_waits_for_an_instance_not_yet_found(run, gce):
    async def test(kit):
        [instance] = await kit.start()
        missing = GceError(404, "notFound", "The resource was not found")
        gce.refuse("instances.get", missing, times=2)
        await kit.system.stop(instance)
        assert gce.vms() == []

    run(test)


def test_stop_repeats_a_deletion_that_another_operation_holds_up(run, gce):
    async def test(kit):
        [instance] = await kit.start()
        not_ready = GceError(400, "resourceNotReady", f"The resource '{instance.id}' is not ready")
        gce.refuse("instances.delete", not_ready, times=2)
        await kit.system.stop(instance)
        assert gce.vms() == []

    run(test)


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize("method", ["instances.delete", "zoneOperations.wait"])
def test_stop_does_not_trust_a_false_not_found(run, gce, method, monkeypatch):
    async def test(kit):
        instances = await kit.start(2)
        monkeypatch.setattr("bigmachine_gcp.api._api._ATTEMPTS", 1)
        gce.operations.step_seconds = 0.2
        gce.refuse(method, GceError(404, "notFound", "The resource was not found"), times=2)
        async with trio.open_nursery() as nursery:
            for instance in instances:
                nursery.start_soon(kit.system.stop, instance)
        assert gce.vms() == []

    run(test)


@pytest.mark.long
def test_stop_succeeds_after_a_lost_answer(run, gce):
    async def test(kit):
        [instance] = await kit.start()
        gce.lose_answer("instances.delete")
        await kit.system.stop(instance)
        assert gce.vms() == []

    run(test)


@pytest.mark.usefixtures("consistent")
def test_stopped_instance_is_deleted_with_its_disk(run, gce):
    """Powered off by its guest, it costs little and is in the way for ever."""

    async def test(kit):
        [instance] = await kit.start()
        gce.power_off(instance.id)
        [listed] = [i for i in await kit.system.instances() if i.kind == "instance"]
        assert (listed.name, listed.details["state"]) == (instance.name, "TERMINATED")
        await kit.system.stop(instance)
        assert [left for left in gce.leftovers() if "rule" not in left] == []

    run(test)


@pytest.mark.long
def test_cancelled_stop_can_be_repeated(run, gce):
    async def test(kit):
        [instance] = await kit.start()
        gce.operations.step_seconds = 0.5
        with trio.move_on_after(0.1) as scope:
            await kit.system.stop(instance)
        assert scope.cancelled_caught
        await kit.system.stop(instance)
        assert gce.vms() == []

    run(test)


@pytest.mark.usefixtures("consistent")
def test_what_others_have_made_is_never_deleted(run, gce):
    body = {
        "name": "bm-theirs-0123abcd-m0",
        "machineType": f"zones/{ZONE}/machineTypes/e2-micro",
        "disks": [{"boot": True}],
        "networkInterfaces": [{"subnetwork": f"regions/{REGION}/subnetworks/default"}],
        "labels": {"bigmachine-session": "theirs-0123abcd"},
    }
    foreign = gce.instances.add(ZONE, body)
    rule = gce.firewalls.add("bm-theirs-0123abcd", allowed=[{"IPProtocol": "tcp"}])

    async def test(kit):
        [instance] = await kit.start()
        assert foreign.name not in {i.id for i in await kit.system.instances()}
        assert rule["name"] not in {i.id for i in await kit.system.instances()}
        await kit.system.stop(Instance(instance.name, "", id=foreign.name, zone=ZONE))
        kind = {"kind": "firewall-rule", "session": "theirs-0123abcd.bigmachine"}
        await kit.system.stop(Instance("firewall-rule", "", id=rule["name"], details=kind))
        await kit.system.shutdown()

    run(test)
    assert names(gce) == [foreign.name]
    assert rule["name"] in gce.firewalls.all
    gce.reset()


@pytest.mark.usefixtures("consistent")
def test_instances_lists_all_sessions_with_disks_and_firewall_rules(run, gce):
    async def test(kit):
        other = kit.other()
        mine = await kit.start(2)
        theirs = await other.start(1)
        fresh = GcpSystem(kit.options)
        listed = {i.name: i for i in await fresh.instances()}
        for instance in (*mine, *theirs):
            found = listed[instance.name]
            assert (found.id, found.zone, found.address) == (
                instance.id,
                instance.zone,
                instance.address,
            )
            assert found.details["session"] == instance.session
            assert found.details["host"]
            assert found.details["started"].startswith("20")
        await other.system.shutdown()
        found = await fresh.instances()
        kinds = [one.kind for one in found]
        assert kinds == ["instance"] * 2 + ["disk"] * 2 + ["firewall-rule"]
        assert {one.session for one in found} == {SESSION}
        for instance in found:  # which is how a dead session is reaped
            await fresh.stop(instance)
        assert await fresh.instances() == []
        await fresh.shutdown()

    run(test)


@pytest.mark.usefixtures("consistent")
def test_instances_says_that_a_zone_is_not_seen_and_lists_the_others(run, gce):
    async def test(kit):
        [instance] = await kit.start()
        gce.unreachable_zones.add(OTHER_ZONE)
        with pytest.raises(IncompleteListError, match=f"can't reach zones/{OTHER_ZONE}") as caught:
            await GcpSystem(kit.options).instances()
        found = [(one.kind, one.id) for one in caught.value.found]
        rule = "bm-test-0123abcd"
        assert found == [("instance", instance.id), ("disk", instance.id), ("firewall-rule", rule)]
        gce.unreachable_zones.clear()

    run(test)


@pytest.mark.usefixtures("consistent")
def test_list_that_fails_is_told_with_what_the_others_have(run, gce):
    async def test(kit):
        [instance] = await kit.start()
        kinds = {"disks.aggregatedList": "disk", "firewalls.list": "firewall-rule"}
        for method, missing in kinds.items():
            gce.refuse(method, DENIED)
            with pytest.raises(IncompleteListError, match="more may be left: ") as caught:
                await kit.system.instances()
            found = [one.kind for one in caught.value.found]
            assert found == ["instance", *({*kinds.values()} - {missing})]
            assert caught.value.found[0].id == instance.id

    run(test)


@pytest.mark.long
def test_disk_that_somebody_detached_is_listed_and_freed(run, gce):
    async def test(kit):
        [instance] = await kit.start()
        disk = gce.disks.all[ZONE, instance.id]
        [vm] = gce.vms()
        vm.document["disks"] = []
        disk.pop("users")
        await kit.system.shutdown()
        assert gce.disks.all == {}

    run(test)


# -- shutdown -------------------------------------------------------------------------


def test_disk_is_freed_with_the_instance_that_uses_it(run, gce):
    async def test(kit):
        await kit.start()
        reaper = kit.other().system
        found = await reaper.instances()
        [disk] = [one for one in found if one.kind == "disk"]
        with trio.fail_after(60):
            await reaper.stop(disk)  # its instance may not be listed yet
        assert gce.vms() == []

    run(test)


def test_shutdown_frees_all_of_the_session_and_nothing_else(run, gce):
    async def test(kit):
        other = kit.other()
        await kit.start(3)
        [theirs] = await other.start(1)
        await kit.system.shutdown()
        assert names(gce) == [theirs.id]
        assert await other.system.keepalive_failed(theirs) is None
        await kit.system.shutdown()
        await other.system.shutdown()

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_shutdown_finds_forgotten_instances_by_their_labels(run, gce):
    async def test(kit):
        await kit.start(2)
        kit.system.resources.ids.clear()
        await kit.system.shutdown()
        assert gce.vms() == []

    run(test)


@pytest.mark.long
def test_cancelled_shutdown_can_be_repeated(run, gce):
    async def test(kit):
        await kit.start(2)
        gce.operations.step_seconds = 0.5
        with trio.move_on_after(0.1) as scope:
            await kit.system.shutdown()
        assert scope.cancelled_caught
        gce.operations.step_seconds = 0.01
        await kit.system.shutdown()
        assert gce.leftovers() == []

    run(test)


def test_shutdown_without_setup_sends_no_request(gce):
    async def main():
        system = GcpSystem(GcpOptions())
        await system.shutdown()
        await system.shutdown()

    trio.run(main)
    assert not gce.asked


def test_failed_shutdown_says_what_may_be_left(run, gce):
    async def test(kit):
        await kit.start()
        gce.refuse("instances.delete", DENIED)
        with pytest.raises(BigmachineError, match=f"{SESSION} may still have instances"):
            await kit.system.shutdown()

    run(test)


def test_shutdown_without_a_list_of_disks_frees_all_that_it_can(run, gce):
    async def test(kit):
        await kit.start()
        gce.refuse("disks.list", DENIED, when=lambda call: call.zone == OTHER_ZONE)
        gce.disks.add(ZONE, "bm-test-0123abcd-m7-data-0", **own(kit))
        with pytest.raises(BigmachineError, match=f"{SESSION} may still have instances"):
            await kit.system.shutdown()
        assert gce.leftovers() == []

    run(test, zones=[OTHER_ZONE, ZONE])


def own(kit):
    """Return what marks a disk as one of the kit's session."""
    labels = {"bigmachine-session": "test-0123abcd"}
    return {"labels": labels, "description": description(SESSION, Driver.here(), kit.options)}


def test_shutdown_fails_if_a_zone_of_the_session_is_not_seen(run, gce, monkeypatch):
    monkeypatch.setattr("bigmachine_gcp.api._api._ATTEMPTS", 2)

    async def test(kit):
        await kit.start()
        gce.unreachable_zones.add(OTHER_ZONE)
        with pytest.raises(BigmachineError, match=f"{SESSION} may still have instances"):
            await kit.system.shutdown()
        gce.unreachable_zones.clear()
        gce.unreachable_zones.add(f"{REGION}-c")  # where the session never launches
        await kit.system.shutdown()
        assert gce.leftovers() == []
        gce.unreachable_zones.clear()

    run(test, zones=[ZONE, OTHER_ZONE])


@pytest.mark.long
def test_firewall_rule_whose_answer_was_lost_is_found(run, gce, monkeypatch):
    monkeypatch.setattr("bigmachine_gcp.api._api._ATTEMPTS", 1)

    async def test(kit):
        gce.lose_answer("firewalls.insert")
        [instance] = await kit.start()
        assert gce.count("firewalls.insert") == 1
        assert await kit.system.keepalive_failed(instance) is None

    run(test)


@pytest.mark.long
def test_shutdown_frees_a_firewall_rule_of_a_failed_start(run, gce, monkeypatch):
    monkeypatch.setattr("bigmachine_gcp.api._api._ATTEMPTS", 1)

    async def test(kit):
        system = await kit.setup()
        gce.lose_answer("firewalls.insert")
        gce.refuse("firewalls.get", DENIED)
        with pytest.raises(StartError):
            await system.start(1, kit.request)
        await eventually(lambda: gce.leftovers() == ["firewall rule bm-test-0123abcd"])
        await system.shutdown()

    run(test)


# -- a start that is cancelled --------------------------------------------------------


def test_start_cancelled_during_launch_deletes_the_instances(run, gce):
    async def test(kit):
        system = await kit.setup()
        gce.hold("instances.bulkInsert")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.start, 3, kit.request)
            await eventually(gce.faults.held.is_set)
            nursery.cancel_scope.cancel()
            gce.release()
        assert gce.vms() == []

    run(test)


@pytest.mark.long
def test_start_cancelled_while_the_operation_runs_deletes_what_comes(run, gce):
    async def test(kit):
        system = await kit.setup()
        gce.operations.step_seconds = 0.2
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.start, 3, kit.request)
            await eventually(lambda: gce.count("zoneOperations.wait") > 0)
            nursery.cancel_scope.cancel()
        assert gce.vms() == []

    run(test)


@pytest.mark.usefixtures("consistent")
def test_what_a_cancelled_start_launches_later_is_freed_at_shutdown(run, gce, monkeypatch):
    monkeypatch.setattr("bigmachine_gcp.launch._launch._OPERATION_SECONDS", 0.1)
    monkeypatch.setattr("bigmachine_gcp.resources._session_resources._OPERATION_SECONDS", 0.1)

    async def test(kit):
        await kit.start()
        system = kit.system
        gce.operations.step_seconds = 100.0
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(system.start, 2, kit.request)
                await eventually(lambda: gce.count("instances.bulkInsert") > 1)
                nursery.cancel_scope.cancel()
            gce.operations.step_seconds = 0.01
            with pytest.raises(BigmachineError, match=f"{SESSION} may still have .*not ended"):
                await system.shutdown()
        assert gce.vms() == []
        gce.advance(100.0)
        assert len(gce.vms()) == 2
        gce.advance(200.0)
        await system.shutdown()
        assert gce.leftovers() == []

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_start_cancelled_with_unknown_outcome_frees_all(run, gce):
    async def test(kit):
        system = await kit.setup()
        gce.lose_answer("instances.bulkInsert", times=3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.start, 2, kit.request)
            await eventually(lambda: gce.count("instances.bulkInsert") > 0)
            nursery.cancel_scope.cancel()
        assert gce.vms() == []
        assert gce.count("instances.bulkInsert") >= 2

    run(test)


@pytest.mark.long
@pytest.mark.parametrize("after", [0.0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4])
def test_start_cancelled_at_any_time_leaves_nothing(run, gce, after):
    async def test(kit):
        [running] = await kit.start()
        started = []
        with trio.move_on_after(after):
            started = await kit.system.start(2, kit.request)
        for instance in started:
            await kit.system.stop(instance)
        assert names(gce) == [running.id]

    run(test)


def test_shutdown_succeeds_after_a_usage_error_of_setup(run, gce):
    async def test(kit):
        with pytest.raises(UsageError):
            await kit.setup()
        await kit.system.shutdown()

    run(test, disk=1)


def test_system_on_a_machine_has_no_driver_state(run, gce):
    async def test(kit):
        await kit.system.setup()
        assert kit.system.maxprocs() == 2
        there = pickle.loads(pickle.dumps(kit.system))
        assert there.options == kit.system.options
        assert there.maxprocs() is None

    run(test)


def test_timings_of_keepalives_are_options():
    default = GcpSystem().orphan_timeout
    patient = GcpSystem(dataclasses.replace(GcpOptions(), keepalive_timeout=1800.0))
    assert patient.orphan_timeout == default + 1800.0 - 300.0
