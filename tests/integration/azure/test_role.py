"""The custom role grants what the plugin's calls need, and nothing else."""

from __future__ import annotations

import contextlib

import pytest

from bigmachine.errors import BigmachineError
from bigmachine_azure.options._tags import session_tags
from tests.support.azure import role
from tests.support.azure.orphans import add_orphan


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_role_matches_the_plugins_calls(run, arm):
    """Make the plugin call each of its operations once."""

    async def tour(kit):
        [instance] = await kit.start()
        system = kit.system
        await system.console(instance)
        system.access._driver.blocks = ("198.51.100.4/32",)  # the driver has moved
        await system.restore_access([instance])
        arm.vms.power_off(instance.id)
        await system.keepalive_failed(instance)

    async def lose(kit):
        system = await kit.setup()
        arm.lose_answer("virtual_machines.create_or_update", times=99)
        with contextlib.suppress(BigmachineError):
            await system.start(2, kit.request)
        tags = session_tags(kit.request.session, kit.request.driver, kit.options)
        for kind in ("networkInterfaces", "publicIPAddresses"):  # what a failure may leave
            add_orphan(arm, f"Microsoft.Network/{kind}", "bm-test-0123abcd-m7", tags=tags)
        add_orphan(arm, "Microsoft.Compute/disks", "bm-test-0123abcd-m7_OsDisk_1", tags=tags)
        for resource in await system.instances():
            await system.stop(resource)

    async def fail(kit):
        system = await kit.setup()
        arm.policies.forbids_public_addresses = True  # which is told late, by an operation
        with contextlib.suppress(BigmachineError):
            await system.start(1, kit.request)
        arm.policies.forbids_public_addresses = False

    async def look(kit):
        with contextlib.suppress(BigmachineError):
            await kit.setup()

    # Interfaces and addresses stay when VMs go: the plugin deletes them.
    by_chance = arm.chance.of
    arm.chance.of = lambda what, probability: (
        what == "an interface that stays all the same" or by_chance(what, probability)
    )
    arm.groups.add("ours")
    image = arm.images.add_to_gallery("mine", group="ours", controllers="SCSI, NVMe")
    managed = arm.images.add_managed("old", group="ours")
    arm.identities.add("worker", group="ours")
    run(tour)
    calls = [*arm.asked]
    arm.asked.clear()
    run(fail)
    run(lose)
    arm.networks.add(  # which lacks the subnet
        "bigmachine", group="ours", prefixes=["10.77.0.0/16"], subnets={"mine": "10.77.128.0/24"}
    )
    run(tour, allow_billing_leak=True, identity="", resource_group="ours")
    for options in (
        {"image": image},
        {"image": managed},
        {"image": "resf:rockylinux-x86_64:9-base:latest"},
        {"network": "none"},
        {"identity": "worker", "resource_group": "ours"},
        {"location": "westeurop"},
    ):
        run(look, **options)
    arm.asked[:0] = calls
    assert role.role(role.actions(arm, arm.asked)) == role.FILE.read_text()


def test_role_changes_nothing_but_machines_and_what_they_need():
    changing = {
        action.rpartition("/")[0]
        for action in role.granted()
        if action.rpartition("/")[2] in ("write", "delete")
    }
    assert changing == {
        "Microsoft.Compute/disks",
        "Microsoft.Compute/virtualMachines",
        "Microsoft.DevTestLab/schedules",
        "Microsoft.Network/networkInterfaces",
        "Microsoft.Network/networkSecurityGroups",
        "Microsoft.Network/publicIPAddresses",
        "Microsoft.Network/virtualNetworks",
        "Microsoft.Network/virtualNetworks/subnets",
        "Microsoft.Resources/subscriptions/resourceGroups",
    }
