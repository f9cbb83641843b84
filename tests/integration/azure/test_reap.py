"""``bigmachine ps azure`` and ``reap azure``: what dead sessions have left is found and freed."""

from __future__ import annotations

import json

import pytest

from bigmachine.boot import Driver
from bigmachine.cli import main
from bigmachine.system import Instance
from bigmachine_azure import AzureOptions, AzureSystem
from bigmachine_azure.options._tags import machine_tags, session_tags
from tests.support.azure.errors import ArmError
from tests.support.azure.orphans import GROUP, add_orphan

DEAD = Driver(pid=4_000_000, started=1, place=Driver.here().place, host="here")
SESSION = "a-0123abcd.bigmachine"
OTHER = "b-0123abcd.bigmachine"
NIC, ADDRESS, GROUP_OF_RULES = (
    f"Microsoft.Network/{kind}"
    for kind in ("networkInterfaces", "publicIPAddresses", "networkSecurityGroups")
)
DISK = "Microsoft.Compute/disks"


@pytest.fixture(autouse=True)
def options(arm, monkeypatch):
    arm.chance.probability = 0.0
    monkeypatch.setenv("BIGMACHINE_AZURE_ENDPOINT_URL", arm.url)


@pytest.fixture
def orphaned(run, arm, monkeypatch):
    """A session of a dead driver, with one VM that runs, one that is stopped, and what is left."""

    def make(session=SESSION, driver=DEAD):
        async def start(kit):
            kit.request._authority = type(kit.request._authority)(session)
            monkeypatch.setattr("bigmachine.boot.LaunchRequest.driver", property(lambda _: driver))
            _, off = await kit.start(2)
            arm.vms.power_off(off.id)
            kit.system.resources.session = ""  # it is killed
            tags = machine_tags(session_tags(session, driver, AzureOptions()), "m7", "0" * 32)
            label = session.partition(".")[0]
            add_orphan(arm, NIC, f"bm-{label}-m7-1", tags=tags)
            add_orphan(arm, ADDRESS, f"bm-{label}-m7-1", tags=tags)
            add_orphan(arm, DISK, f"bm-{label}-m7_OsDisk_1_0")

        run(start)

    return make


def listed(capsys, session=SESSION):
    """Return what ``ps`` shows of a session: its kinds, ids and states."""
    assert main(["ps", "azure", "--json"]) == 0
    sessions = json.loads(capsys.readouterr().out)["sessions"]
    [found] = [one for one in sessions if one["session"] == session]
    return [(one["kind"], one["id"], one["state"]) for one in found["resources"]]


def test_all_of_a_dead_session_is_listed_and_freed_and_nothing_else(arm, orphaned, capsys):
    orphaned()
    orphaned(OTHER, Driver.here())
    assert listed(capsys) == [
        ("instance", "bm-a-0123abcd-m1", "stopped, billed"),
        ("instance", "bm-a-0123abcd-m0", "running"),
        ("network-interface", "bm-a-0123abcd-m7-1", ""),
        ("public-address", "bm-a-0123abcd-m7-1", ""),
        ("disk", "bm-a-0123abcd-m7_OsDisk_1_0", "unattached"),
        ("security-group", "bm-a-0123abcd", ""),
    ]
    assert main(["reap", "azure"]) == 0
    assert [one for one in arm.leftovers() if "bm-a" in one] == []
    assert sorted(vm.name for vm in arm.vms.all.values()) == [
        "bm-b-0123abcd-m0",
        "bm-b-0123abcd-m1",
    ]
    assert main(["reap", "azure", OTHER, "--yes"]) == 0
    assert arm.leftovers() == []
    assert arm.meter.rate == 0.0


def test_nonsense_in_the_tags_of_one_vm_hides_nothing_else(arm, orphaned, capsys):
    orphaned()
    before = listed(capsys)
    odd = next(iter(arm.vms.all.values()))
    odd.document["tags"] |= dict.fromkeys(
        [f"bigmachine-{name}" for name in ("port", "driver", "started")], "any: thing"
    )
    assert listed(capsys) == before
    assert main(["reap", "azure", SESSION, "--yes"]) == 0


def test_what_others_have_made_is_never_deleted(run, arm):
    tags = {"bigmachine-session": SESSION}  # copied, with a name of its own
    foreign = [
        add_orphan(arm, NIC, "web-nic", tags=tags),
        add_orphan(arm, ADDRESS, "bm-address"),
        add_orphan(arm, DISK, "bm-theirs_OsDisk_1"),
        add_orphan(arm, GROUP_OF_RULES, "bm-theirs-0123abcd"),
    ]

    async def test(kit):
        await kit.start()
        found = await kit.system.instances()
        assert {one.id for one in found} == {"bm-test-0123abcd-m0", "bm-test-0123abcd"}
        kinds = ("network-interface", "public-address", "disk", "security-group")
        for kind, one in zip(kinds, foreign, strict=True):
            details = {"kind": kind, "session": SESSION, "resource_group": GROUP}
            await kit.system.stop(Instance(kind, "", id=one["name"], details=details))
        await kit.system.shutdown()

    run(test)
    assert len(arm.leftovers()) == len(foreign)
    for one in foreign:
        arm.resources.remove(one["id"])


@pytest.mark.long
def test_part_whose_vm_no_list_has_goes_with_that_vm(run, arm):
    async def test(kit):
        await kit.start()
        arm.edit("virtual_machines.list_all", lambda answer: {**answer, "value": []})
        reaper = AzureSystem(kit.options)
        found = await reaper.instances()
        [disk] = [one for one in found if one.kind == "disk"]
        await reaper.stop(disk)
        assert arm.vms.all == {}
        await reaper.shutdown()

    run(test)


@pytest.mark.long
def test_disk_alone_is_known_by_its_name_and_its_time(arm, capsys):
    name, time = "bm-a-0123abcd-m7_disk2_f00", "2020-01-31T12:00:00+00:00"
    add_orphan(arm, DISK, name, timeCreated=time)
    assert listed(capsys) == [("disk", "bm-a-0123abcd-m7_disk2_f00", "unattached")]
    assert main(["reap", "azure"]) == 0
    assert arm.leftovers() == []


@pytest.mark.long
def test_reaping_waits_for_what_azure_holds(arm, orphaned):
    orphaned()
    nic = next(one for one in arm.interfaces.all() if "m7" in one["name"])
    arm.interfaces.reserve(nic, "another VM")
    reserved = ArmError(400, "NicReservedForAnotherVm", "Nic(s) in request is reserved")
    arm.advance(200.0)
    arm.refuse("network_interfaces.delete", reserved, times=2)
    assert main(["reap", "azure"]) == 0
    assert arm.leftovers() == []


@pytest.mark.long
def test_who_may_not_list_the_subscription_is_told_what_is_listed(arm, orphaned, capsys, caplog):
    orphaned()
    denied = ArmError(403, "AuthorizationFailed", "… to perform action 'Microsoft.Network/x/read'")
    for name in ("virtual_machines", "network_interfaces", "public_ip_addresses"):
        arm.refuse_always(f"{name}.list_all", denied)
    assert main(["ps", "azure"]) == 1
    assert "does not have" in (error := capsys.readouterr().err) or "perform action" in error
    assert main(["ps", "azure", "-o", f"resource_group={GROUP}"]) == 0
    assert "bm-a-0123abcd-m1" in capsys.readouterr().out
    assert f"resources of resource group {GROUP} alone are listed" in caplog.text
    assert main(["reap", "azure", "-o", f"resource_group={GROUP}"]) == 0
    assert arm.leftovers() == []
