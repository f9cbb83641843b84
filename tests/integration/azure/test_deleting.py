"""What Azure shows of a VM while it deletes it, and afterwards, may be wrong for some seconds."""

from __future__ import annotations

import pytest

from bigmachine.errors import BigmachineError
from tests.support.azure.errors import ArmError
from tests.support.azure.orphans import add_orphan

DELETE, GET = "virtual_machines.delete", "virtual_machines.get"
NOT_FOUND = ArmError(404, "ResourceNotFound", "The Resource … was not found.")
NO_GROUP = ArmError(404, "ResourceGroupNotFound", "Resource group '…' could not be found.")

pytestmark = pytest.mark.usefixtures("consistent")


def test_new_vm_is_deleted_before_stop_returns_though_azure_hides_it(run, arm, monkeypatch):
    monkeypatch.setattr("bigmachine_azure.resources._vms._NEW_SECONDS", 60.0)

    async def test(kit):
        [instance] = await kit.start()
        arm.operations.seconds = 0.5
        for group in ("virtual_machines", "network_interfaces", "public_ip_addresses", "disks"):
            for method in ("get", "delete")[: 1 if group == "virtual_machines" else 2]:
                is_begun = lambda call: arm.count(DELETE) > 0  # noqa: E731
                arm.refuse(f"{group}.{method}", NOT_FOUND, when=is_begun)
        await kit.system.stop(instance)
        assert arm.vms.all == {}

    run(test)


def test_disk_that_is_locked_keeps_the_security_group_from_nothing(run, arm):
    async def test(kit):
        await kit.start()
        add_orphan(arm, "Microsoft.Compute/disks", "bm-test-0123abcd-m7_OsDisk_1_0")
        locked = ArmError(409, "ScopeLocked", "The scope … cannot perform delete operation …")
        arm.refuse("disks.delete", locked, times=9, when=lambda call: "-m7" in call.name)
        arm.edit("network_security_groups.list", lambda answer: {**answer, "value": []})
        with pytest.raises(BigmachineError, match="a lock forbids the change"):
            await kit.system.shutdown()
        assert [one.partition(" ")[0] for one in arm.leftovers()] == ["disks"]
        arm.faults.pending.clear()
        await kit.system.shutdown()
        assert arm.leftovers() == []

    run(test)


def test_leftover_is_deleted_in_a_group_that_azure_does_not_find_yet(run, arm):
    async def test(kit):
        add_orphan(arm, "Microsoft.Compute/disks", "bm-old-0123abcd-m7_OsDisk_1_0")
        [disk] = await kit.system.instances()
        for method in ("get", "delete"):
            arm.refuse(f"disks.{method}", NO_GROUP)
        await kit.system.stop(disk)
        assert arm.leftovers() == []

    run(test)


@pytest.mark.parametrize("state", ["Succeeded", pytest.param("Deleting", marks=pytest.mark.long)])
def test_vm_that_only_a_list_still_has_is_deleted_once(run, arm, state):
    async def test(kit):
        await kit.start(2)
        for vm in [*arm.vms.all.values()]:
            arm.vms._remove(vm)
            vm.document["properties"]["provisioningState"] = state
        ghosts = [vm.document for vm in arm.vms.ended]
        seen = []

        def show(answer):
            seen.append(answer)
            if len(seen) < 4:
                answer["value"] += ghosts
            return answer

        arm.edit("virtual_machines.list", show)
        await kit.system.shutdown()
        assert arm.count(DELETE) == 2

    run(test)
