"""What `setup` finds out about all options together, without changing anything."""

from __future__ import annotations

import pytest

from bigmachine.errors import UsageError
from tests.integration.azure.plans import ALLOW, plan, planning
from tests.support.azure.arm import LOCATION


def test_plan_is_made_by_reads_alone(run, arm):
    made = plan(run, vm_size=["Standard_D2s_v5", "Standard_D2ps_v5"], zones=["1", "3"])
    assert made.location == LOCATION
    assert made.allow == (ALLOW,)
    assert {(offer.type_name, offer.image.architecture) for offer in made.offers} == {
        ("Standard_D2s_v5", "x64"),
        ("Standard_D2ps_v5", "Arm64"),
    }
    assert {offer.disk_type for offer in made.offers} == {"StandardSSD_LRS"}
    assert {call.verb for call in arm.asked} == {"GET"}


def test_disks_of_a_type_that_cannot_be_had_are_refused(run, arm):
    def edit(answer):
        kept = [sku for sku in answer["value"] if sku["name"] != "Premium_ZRS"]
        return {**answer, "value": kept}

    arm.edit("resource_skus.list", edit)

    async def test(planner):
        made = await planner.plan(disk_type="Premium_LRS")
        assert {offer.disk_type for offer in made.offers} == {"Premium_LRS"}
        for name in ("PremiumV2_LRS", "UltraSSD_LRS"):
            said = await planner.refusal(UsageError, disk_type=name)
            assert said.startswith(f"disk_type: {name} disks can't hold an operating system")
        said = await planner.refusal(UsageError, disk_type="Premium_ZRS")
        assert said.startswith("disk_type: there are no Premium_ZRS disks in westeurope, but Prem")
        said = await planner.refusal(
            UsageError, disk_type="Premium_LRS", vm_size=["Standard_D2s_v5", "Standard_D2_v5"]
        )
        assert said.startswith("disk_type: Standard_D2_v5 takes no premium disks")

    planning(run, test)


@pytest.mark.parametrize(
    ("options", "allow"),
    [
        ({"allow": ["10.0.0.0/8", ALLOW]}, ("10.0.0.0/8", ALLOW)),
        ({"security_group": "mine", "allow": ()}, ()),  # the user decides who may connect
    ],
)
def test_driver_is_let_in_as_the_options_say(run, arm, options, allow):
    arm.groups.add(f"bigmachine-{LOCATION}")
    id = (
        f"/subscriptions/{arm.subscription}/resourceGroups/bigmachine-{LOCATION}/providers/"
        "Microsoft.Network/networkSecurityGroups/mine"
    )
    document = {"id": id, "name": "mine", "location": LOCATION, "properties": {}}
    of = {"type": "Microsoft.Network/networkSecurityGroups"}
    arm.resources.add({**document, **of}, is_users=True)
    made = plan(run, **options)
    assert made.allow == allow
    assert made.security_group == (id if "security_group" in options else "")


def test_driver_in_the_network_is_let_in_by_its_own_address(run, arm, monkeypatch):
    inside = "bigmachine.system.cloud._driver_address.source_address"
    monkeypatch.setattr(inside, lambda host: "10.1.0.77" if host.startswith("10.1.") else None)
    id = arm.networks.add("lab", group="lab")["id"]
    made = plan(run, allow=(), public_address=False, network=id)
    assert made.allow == ("10.1.0.77/32",)


def test_setup_creates_nothing_whatever_it_refuses(run, arm):
    arm.quotas.limits["lowPriorityCores"] = 0

    async def test(kit):
        with pytest.raises(UsageError, match=r"^image: .* is for Windows"):
            await kit.setup()

    run(test, image="MicrosoftWindowsServer:WindowsServer:2022-g2:latest", disk=127)
    assert {call.verb for call in arm.asked} == {"GET"}
    assert {*arm.groups.all} == {"identities"}
