"""The custom role grants what the plugin's calls need, and nothing else."""

from __future__ import annotations

import contextlib
import re

import pytest

from bigmachine.errors import UsageError
from bigmachine_gcp import GcpSystem
from bigmachine_gcp.api._transport import method_id
from tests.support.gcp import role
from tests.support.gcp.calls import Call
from tests.support.gcp.gce import PROJECT, REGION, ZONE, Gce
from tests.support.paths import ROOT

ZONES = [ZONE, f"{REGION}-b"]


@pytest.mark.long
def test_role_matches_the_plugins_calls(run, gce):
    """Make the plugin call each of its methods once."""

    async def tour(kit):
        [instance] = await kit.start()
        system = kit.system
        await system.console(instance)
        system.access._driver.blocks = ("198.51.100.4/32",)  # the driver has moved
        await system.restore_access([instance])
        gce.power_off(instance.id)
        await system.keepalive_failed(instance)

    async def lose(kit):
        system = await kit.setup()
        gce.lose_answer("regionInstances.bulkInsert", times=99)
        await system.start(2, kit.request)
        body = {"labels": {"bigmachine-session": "test-0123abcd"}}
        text = gce.calls("firewalls.insert")[0].body["description"]
        gce.disks.add(ZONE, "bm-test-0123abcd-m9", description=text, **body)
        for resource in await GcpSystem(kit.options).instances():
            await system.stop(resource)

    async def look(kit):
        with contextlib.suppress(UsageError):  # of types and images that there are not
            await kit.setup()

    image = f"projects/{PROJECT}/global/images"
    run(tour, service_account=Gce.default_account)
    calls = [*gce.asked]
    gce.asked.clear()
    run(lose, zones=ZONES, machine_type=["n2-standard-2", "n2-standard-4"])
    run(look, machine_type="n2-custom-4-8192")
    run(look, machine_type="n1-standard-4", accelerator="nvidia-tesla-t4", image=f"{image}/mine")
    run(look, image=f"{image}/family/mine")
    run(look, subnetwork="default")
    run(look, region="us-central9", zones=[])
    gce.asked[:0] = calls
    needed = role.permissions(gce.asked, project=PROJECT)
    assert role.role(needed - {role.ACT_AS}) == role.FILE.read_text()


def test_role_grants_every_method_in_the_source():
    named = {
        method_id(method).removeprefix("compute.")
        for source in (ROOT / "plugins/gcp/src/bigmachine_gcp").rglob("*.py")
        for method in re.findall(r'"([a-z_]+\.[a-z_]+)"', source.read_text())
        if method.partition(".")[2].startswith(("get", "list", "aggregated_list", "delete"))
    }
    assert len(named) > 20
    calls = [Call(method, {"project": PROJECT}, {}, "me") for method in sorted(named)]
    assert role.refused(calls, project=PROJECT) == []


def test_call_outside_the_role_is_detected():
    """Otherwise a call outside the role would fail no test."""
    allowed = Call("instances.get", {"project": PROJECT}, {}, "me")
    elsewhere = Call("snapshots.get", {"project": "ubuntu-os-cloud"}, {}, "me")
    assert role.refused([allowed, elsewhere], project=PROJECT) == []
    beyond = Call("snapshots.get", {"project": PROJECT}, {}, "me")
    why = "compute.snapshots.get: role.yaml does not grant it"
    assert role.refused([beyond], project=PROJECT) == [why]
    with pytest.raises(LookupError, match=r"instances\.reset: say in"):
        [*role.permissions_of(Call("instances.reset", {}, {}, "me"))]


def test_role_has_no_permission_beyond_instances_disks_and_firewall_rules():
    changing = {
        permission
        for permission in role.granted()
        if not permission.rpartition(".")[2].startswith(("get", "list", "use"))
    }
    assert {permission.split(".")[1] for permission in changing} == {
        "disks",
        "firewalls",
        "instances",
        "networks",  # updatePolicy, without which no rule can be added
    }
