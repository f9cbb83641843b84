"""VMs are watched, listed and freed; nothing is left, whatever fails."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
import trio

from bigmachine.errors import BigmachineError, IncompleteListError, StopReason, UsageError
from bigmachine.system import Instance, Termination
from bigmachine_azure import AzureOptions, AzureSystem
from tests.support.azure.errors import ArmError
from tests.support.azure.orphans import add_orphan
from tests.support.waiting import eventually

SESSION = "test-0123abcd.bigmachine"
GROUP = "bigmachine-westeurope"
DENIED = ArmError(
    403,
    "AuthorizationFailed",
    "The client 'ada' with object id 'x' does not have authorization to perform action "
    "'Microsoft.Compute/virtualMachines/read' over scope '/subscriptions/s' or the scope is "
    "invalid. If access was recently granted, please refresh your credentials.",
)
NOT_FOUND = ArmError(404, "ResourceNotFound", "The Resource … was not found.")


def names(arm) -> list[str]:
    return sorted(vm.name for vm in arm.vms.all.values())


# -- watch ----------------------------------------------------------------------------


@pytest.mark.long
def test_running_vm_has_not_ended(run):
    async def test(kit):
        [instance] = await kit.start()
        assert await kit.system.keepalive_failed(instance) is None

    run(test)


@pytest.mark.usefixtures("consistent")
def test_ended_vm_has_its_power_state_as_the_reason(run, arm, monkeypatch):
    monkeypatch.setattr("bigmachine_azure.resources._vms._NEW_SECONDS", 0.0)

    async def test(kit):
        off, deallocated, evicted = await kit.start(3)
        arm.vms.power_off(off.id)
        gone = await kit.system.keepalive_failed(off)
        assert gone.reason is StopReason.EXITED
        assert gone.detail.startswith("its VM is stopped: it powered itself off, or")
        assert gone.detail.endswith("It is billed until it is deleted")
        arm.vms.deallocate(arm.vms.by_name(deallocated.id))
        gone = await kit.system.keepalive_failed(deallocated)
        assert gone.reason is StopReason.GONE
        assert "its VM is deallocated: somebody, or a schedule for that" in gone.detail
        arm.vms.evict(evicted.id)
        gone = await until_gone(kit.system, evicted)
        assert gone.reason is StopReason.GONE
        assert gone.detail == (
            "Azure no longer has its VM: a spot VM is deleted when Azure needs its capacity"
        )

    run(test)


@pytest.mark.parametrize(
    ("market", "why"),
    [("spot", ": a spot VM is deleted when Azure needs its capacity"), ("on-demand", "")],
)
@pytest.mark.usefixtures("consistent")
def test_vm_under_deletion_has_ended(run, arm, market, why):
    def under_deletion(answer):
        answer["properties"]["provisioningState"] = "Deleting"
        return answer

    async def test(kit):
        [instance] = await kit.start()
        arm.edit("virtual_machines.get", under_deletion)
        gone = await until_gone(kit.system, instance)
        assert gone == Termination(StopReason.GONE, f"Azure is deleting its VM{why}")

    run(test, market=market)


@pytest.mark.usefixtures("consistent")
def test_missing_power_state_is_unknown_and_not_the_end(run, arm):
    def without_power(answer):
        for vm in answer.get("value", [answer]):
            statuses = vm["properties"].get("instanceView", {}).get("statuses", [])
            statuses[:] = [s for s in statuses if not s["code"].startswith("PowerState/")]
        return answer

    async def test(kit):
        instances = await kit.start(2)
        arm.edit("virtual_machines.get", without_power)
        arm.edit("virtual_machines.list_all", without_power)
        assert await kit.system.keepalive_failed(instances[0]) is None
        listed = await AzureSystem(kit.options).instances()
        states = [one.details["state"] for one in listed if one.kind == "instance"]
        assert states == ["power state unknown"] * 2

    run(test)


@pytest.mark.long
def test_vm_that_was_new_when_it_was_not_found_has_not_ended(run, arm, monkeypatch):
    monkeypatch.setattr("bigmachine_azure.resources._vms._NEW_SECONDS", 60.0)

    def grow_old(_):
        monkeypatch.setattr("bigmachine_azure.resources._vms._NEW_SECONDS", 0.0)
        return True

    async def test(kit):
        [instance] = await kit.start()
        arm.refuse("virtual_machines.get", NOT_FOUND, when=grow_old)
        assert await kit.system.keepalive_failed(instance) is None
        unknown = Instance(f"m9.{SESSION}", "")
        assert "no VM of this session" in (await kit.system.keepalive_failed(unknown)).detail

    run(test)


@pytest.mark.long
def test_state_is_unknown_if_azure_refuses_to_tell_it(run, arm, caplog):
    async def test(kit):
        [instance] = await kit.start()
        arm.refuse("virtual_machines.get", DENIED)
        assert await kit.system.keepalive_failed(instance) is None
        assert "m0.test-0123abcd.bigmachine: the state of its VM is unknown" in caplog.text

    run(test)


@pytest.mark.usefixtures("consistent")
def test_many_silent_machines_are_looked_at_by_few_requests(run, arm):
    async def test(kit):
        instances = await kit.start(8)
        arm.vms.power_off(instances[7].id)
        before = len(arm.asked)
        found = {}

        async def ask(instance):
            found[instance.name] = await kit.system.keepalive_failed(instance)

        async with trio.open_nursery() as nursery:
            for instance in instances:
                nursery.start_soon(ask, instance)
        assert [name for name, gone in found.items() if gone] == [instances[7].name]
        # One machine asks first, and alone; then all others, by a list and one of states.
        assert len(arm.asked) - before <= 3

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_vm_that_a_list_lacks_is_looked_at_by_its_name(run, arm):
    async def test(kit):
        instances = await kit.start(3)
        arm.edit("virtual_machines.list", lambda answer: {**answer, "value": []})
        found = []

        async def ask(instance):
            found.append(await kit.system.keepalive_failed(instance))

        async with trio.open_nursery() as nursery:
            for instance in instances:
                nursery.start_soon(ask, instance)
        assert found == [None] * 3

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_who_may_not_list_the_subscription_gets_each_power_state(run, arm):
    async def test(kit):
        instances = await kit.start(3)
        arm.vms.power_off(instances[1].id)
        arm.refuse_always("virtual_machines.list_all", DENIED)
        found = {}

        async def ask(instance):
            found[instance.name] = await kit.system.keepalive_failed(instance)

        async with trio.open_nursery() as nursery:
            for instance in instances:
                nursery.start_soon(ask, instance)
        assert [name for name, gone in found.items() if gone] == [instances[1].name]

    run(test)


async def until_gone(system, instance):
    """Return why an instance is gone, as soon as the system says so: new ones get some time."""
    while True:
        if gone := await system.keepalive_failed(instance):
            return gone
        await trio.sleep(0.02)


@pytest.mark.usefixtures("consistent")
def test_console_is_what_boot_diagnostics_have(run, arm):
    async def test(kit):
        [instance] = await kit.start()
        assert await kit.system.console(instance) == ""
        arm.vms.by_name(instance.id).console = "Linux version 6.12\n"
        assert await kit.system.console(instance) == "Linux version 6.12\n"

    run(test)


# -- stop, and find what is left ------------------------------------------------------


def test_stop_deletes_only_its_vm_with_all_that_is_its(run, arm):
    async def test(kit):
        one, other = await kit.start(2)
        await kit.system.stop(one)
        assert names(arm) == [other.id]
        assert [left for left in arm.leftovers() if one.id in left] == []
        await kit.system.stop(one)
        await kit.system.stop(Instance(one.name, ""))
        await kit.system.stop(Instance(f"m7.{SESSION}", ""))
        assert await kit.system.keepalive_failed(other) is None

    run(test)


@pytest.mark.long
@pytest.mark.parametrize("known", ["name", "id"])
def test_another_process_stops_a_vm_by_its_name_or_id(run, arm, known):
    async def test(kit):
        one, other = await kit.start(2)
        reaper = AzureSystem(kit.options)
        where = {"resource_group": one.details["resource_group"]}
        by_id = Instance("", "", id=one.id, details=where)
        await reaper.stop(Instance(one.name, "") if known == "name" else by_id)
        assert names(arm) == [other.id]
        assert [left for left in arm.leftovers() if one.id in left] == []
        await reaper.shutdown()

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_ended_machines_are_not_shut_down_again_and_all_others_are(run, arm):
    async def test(kit):
        one, other = await kit.start(2)
        kit.system.resources._ended.add(one.name.partition(".")[0])
        await kit.system.stop(one)
        await kit.system.stop(other)
        forced = [call.query.get("forceDeletion") for call in arm.calls("virtual_machines.delete")]
        assert forced == ["true", "false"]

    run(test)


@pytest.mark.long
@pytest.mark.parametrize(
    "error",
    [
        ArmError(409, "AnotherOperationInProgress", "Another operation is in progress."),
        ArmError(409, "OperationNotAllowed", "The VM is being changed."),
        ArmError(429, "TooManyRequests", "Too many.", headers={"Retry-After": "0"}),
        ArmError(503, "ServiceUnavailable", "Try later."),
    ],
    ids=lambda error: error.code,
)
def test_stop_repeats_a_deletion_that_something_holds_up(run, arm, error):
    async def test(kit):
        [instance] = await kit.start()
        arm.refuse("virtual_machines.delete", error, times=2)
        await kit.system.stop(instance)
        assert names(arm) == []

    run(test)


@pytest.mark.long
def test_lost_answer_of_a_deletion_is_no_error(run, arm):
    async def test(kit):
        [instance] = await kit.start()
        arm.lose_answer("virtual_machines.delete")
        await kit.system.stop(instance)
        assert names(arm) == []

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_deletion_that_azure_fails_is_an_error_and_can_be_repeated(run, arm, monkeypatch):
    failure = ArmError(409, "InternalExecutionError", "An internal execution error occurred.")
    remove = arm.vms._remove

    def fail(vm, *_, **__):
        monkeypatch.setattr(arm.vms, "_remove", remove)
        vm.document["properties"]["provisioningState"] = "Failed"
        raise failure

    async def test(kit):
        [instance] = await kit.start()
        monkeypatch.setattr(arm.vms, "_remove", fail)
        with pytest.raises(BigmachineError, match="An internal execution error"):
            await kit.system.stop(instance)
        assert names(arm) == [instance.id]
        await kit.system.stop(instance)
        assert names(arm) == []

    run(test)


@pytest.mark.usefixtures("consistent")
def test_stopped_vm_is_deleted_and_the_meter_stands_still(run, arm):
    """Powered off by its guest, it costs as much as before."""

    async def test(kit):
        [instance] = await kit.start()
        arm.vms.power_off(instance.id)
        assert arm.meter.stopped_but_billed() == [instance.id]
        [listed] = [one for one in await kit.system.instances() if one.kind == "instance"]
        assert listed.details["state"] == "stopped, billed"
        assert listed.cost_per_hour == instance.cost_per_hour
        await kit.system.stop(instance)
        assert arm.meter.rate == 0.0

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_cost_of_a_deallocated_vm_is_not_that_of_one_that_runs(run, arm):
    async def test(kit):
        [instance] = await kit.start()
        arm.vms.deallocate(arm.vms.by_name(instance.id))
        [listed] = [one for one in await kit.system.instances() if one.kind == "instance"]
        assert (listed.details["state"], listed.cost_per_hour) == ("deallocated", None)

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_interface_that_outlives_a_forced_deletion_goes_with_its_address(run, arm, monkeypatch):
    likely = arm.chance.of
    stays = "an interface that stays all the same"
    monkeypatch.setattr(arm.chance, "of", lambda what, p: what == stays or likely(what, p))

    async def test(kit):
        one, other = await kit.start(2)
        await kit.system.stop(one)
        assert [left for left in arm.leftovers() if one.id in left] == []
        kit.system.resources._ended.add("m1")
        await kit.system.stop(other)
        assert arm.meter.rate == 0.0

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_disk_that_somebody_attached_is_not_deleted_with_the_vm(run, arm):
    async def test(kit):
        [instance] = await kit.start()
        vm = arm.vms.by_name(instance.id)
        theirs = add_orphan(arm, "Microsoft.Compute/disks", "results")
        theirs["managedBy"] = vm.id
        storage = vm.document["properties"]["storageProfile"]
        own = storage["osDisk"]
        managed = {"id": theirs["id"], "storageAccountType": "StandardSSD_LRS"}
        attached = {**own, "lun": 9, "name": "results", "deleteOption": "Detach"}
        storage["dataDisks"].append({**attached, "managedDisk": managed, "createOption": "Attach"})
        storage["dataDisks"][-1].pop("osType", None)
        await kit.system.stop(instance)
        await kit.system.shutdown()
        assert [one["name"] for one in arm.disks.all()] == ["results"]
        arm.resources.remove(theirs["id"])

    run(test)


@pytest.mark.long
def test_cancelled_stop_can_be_repeated(run, arm):
    async def test(kit):
        [instance] = await kit.start()
        arm.operations.seconds = 0.5
        with trio.move_on_after(0.1) as scope:
            await kit.system.stop(instance)
        assert scope.cancelled_caught
        await kit.system.stop(instance)
        assert [left for left in arm.leftovers() if instance.id in left] == []

    run(test)


@pytest.mark.usefixtures("consistent")
@pytest.mark.long
def test_instances_lists_all_sessions_with_their_security_groups(run, arm):
    async def test(kit):
        other = kit.other()
        mine = await kit.start(2)
        theirs = await other.start(1)
        fresh = AzureSystem(kit.options)
        listed = {i.name: i for i in await fresh.instances()}
        for instance in (*mine, *theirs):
            found = listed[instance.name]
            assert (found.id, found.zone, found.address, found.cost_per_hour) == (
                instance.id,
                instance.zone,
                instance.address,
                instance.cost_per_hour,
            )
            assert found.details["session"] == instance.session
            assert found.details["host"]
            assert found.details["started"].startswith("20")
        await other.system.shutdown()
        found = await fresh.instances()
        assert [one.kind for one in found] == ["instance"] * 2 + ["security-group"]
        assert {one.session for one in found} == {SESSION}
        for instance in found:  # which is how a dead session is reaped
            await fresh.stop(instance)
        assert await fresh.instances() == []
        assert arm.leftovers() == []
        await fresh.shutdown()

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_list_that_fails_is_told_with_what_the_others_have(run, arm):
    async def test(kit):
        [instance] = await kit.start()
        broken = ArmError(400, "BadRequest", "the list is broken")
        for method in ("disks.list", "network_interfaces.list_all"):
            arm.refuse(method, broken)
            with pytest.raises(IncompleteListError, match="the list is broken") as caught:
                await AzureSystem(kit.options).instances()
            assert [one.kind for one in caught.value.found] == ["instance", "security-group"]
            assert caught.value.found[0].id == instance.id
        arm.refuse("virtual_machines.list_all", broken)
        with pytest.raises(BigmachineError, match="the list is broken"):
            await AzureSystem(kit.options).instances()

    run(test)


@pytest.mark.long
def test_list_that_fails_at_the_end_keeps_nothing_else(run, arm):
    async def test(kit):
        await kit.start()
        arm.refuse("disks.list_by_resource_group", DENIED, times=2)
        with pytest.raises(BigmachineError, match=f"{SESSION} may still have instances"):
            await kit.system.shutdown()
        assert arm.leftovers() == []

    run(test)


# -- shutdown -------------------------------------------------------------------------


def test_shutdown_frees_all_of_the_session_and_nothing_else(run, arm):
    async def test(kit):
        other = kit.other()
        await kit.start(3)
        [theirs] = await other.start(1)
        await kit.system.shutdown()
        assert names(arm) == [theirs.id]
        assert [left for left in arm.leftovers() if "test-0123abcd" in left] == []
        assert await other.system.keepalive_failed(theirs) is None
        await kit.system.shutdown()
        await other.system.shutdown()

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_shutdown_finds_forgotten_vms_by_their_tags(run, arm):
    async def test(kit):
        await kit.start(2)
        kit.system.resources.ids.clear()
        await kit.system.shutdown()
        assert arm.leftovers() == []

    run(test)


@pytest.mark.long
def test_cancelled_shutdown_can_be_repeated(run, arm):
    async def test(kit):
        await kit.start(2)
        arm.operations.seconds = 0.5
        with trio.move_on_after(0.1) as scope:
            await kit.system.shutdown()
        assert scope.cancelled_caught
        arm.operations.seconds = 0.01
        await kit.system.shutdown()
        assert arm.leftovers() == []

    run(test)


def test_shutdown_without_setup_sends_no_request(arm):
    async def main():
        system = AzureSystem(AzureOptions())
        await system.shutdown()
        await system.shutdown()

    trio.run(main)
    assert not arm.asked


@pytest.mark.long
@pytest.mark.parametrize("method", ["virtual_machines.delete", "virtual_machines.list"])
def test_failed_shutdown_says_what_may_be_left(run, arm, method):
    async def test(kit):
        await kit.start()
        arm.refuse(method, DENIED)
        with pytest.raises(BigmachineError, match=f"{SESSION} may still have instances"):
            await kit.system.shutdown()

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_resource_group_that_somebody_deleted_has_nothing_left(run, arm):
    async def test(kit):
        await kit.start()
        arm.groups.all.clear()
        for document in [*arm.resources.of_session()]:
            arm.resources.remove(document["id"])
        arm.vms.all.clear()
        await kit.system.shutdown()

    run(test)


@pytest.mark.long
def test_new_resource_group_that_is_not_found_yet_is_not_empty(run, arm):
    async def test(kit):
        await kit.start()
        missing = ArmError(404, "ResourceGroupNotFound", "Resource group could not be found.")
        arm.refuse("virtual_machines.list", missing, times=2)
        arm.refuse("network_interfaces.list", missing)
        await kit.system.shutdown()
        assert arm.leftovers() == []

    run(test)


# -- a start that is cancelled --------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_start_cancelled_at_any_time_leaves_nothing(run, arm, after):
    async def test(kit):
        [running] = await kit.start()
        started = []
        with trio.move_on_after(after):
            started = await kit.system.start(2, kit.request)
        for instance in started:
            await kit.system.stop(instance)
        await kit.system.shutdown()
        assert arm.leftovers() == []
        assert running.id not in names(arm)

    run(test)


@pytest.mark.long
def test_start_cancelled_during_launch_deletes_the_vms(run, arm):
    async def test(kit):
        system = await kit.setup()
        arm.hold("virtual_machines.create_or_update")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.start, 3, kit.request)
            await eventually(arm.faults.held.is_set)
            nursery.cancel_scope.cancel()
            arm.release()
        assert names(arm) == []

    run(test)


def test_shutdown_succeeds_after_a_usage_error_of_setup(run):
    async def test(kit):
        with pytest.raises(UsageError):
            await kit.setup()
        await kit.system.shutdown()

    run(test, disk=0)


@pytest.mark.usefixtures("arm")
def test_system_on_a_machine_has_no_driver_state(run):
    async def test(kit):
        await kit.system.setup()
        assert kit.system.maxprocs() == 2
        there = pickle.loads(pickle.dumps(kit.system))
        assert there.options == kit.system.options
        assert there.maxprocs() is None

    run(test)


def test_timings_of_keepalives_are_options():
    default = AzureSystem().orphan_timeout
    patient = AzureSystem(dataclasses.replace(AzureOptions(), keepalive_timeout=1800.0))
    assert patient.orphan_timeout == default + 1800.0 - 300.0
