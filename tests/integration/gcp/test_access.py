"""The driver reaches its machines, wherever it is, and only the driver and its machines do."""

from __future__ import annotations

import pytest

from bigmachine_gcp import GcpSystem
from tests.support.gcp.errors import GceError

ALLOWED = "192.0.2.7/32"  # by the `Kit`
MOVED = "198.51.100.4/32"
RULE = "bm-test-0123abcd"


def move(kit, block=MOVED):
    """Let the driver be elsewhere, as its next look-up shows."""

    async def look_up():
        return [block]

    kit.system.access._driver._look_up = look_up


def rule(gce):
    return gce.firewalls.all[RULE]


def test_rule_lets_driver_and_machines_in_on_one_port(run, gce):
    async def test(kit):
        await kit.start()
        await kit.system.start(1, kit.request)
        found = rule(gce)
        assert found["allowed"] == [{"IPProtocol": "tcp", "ports": ["7443"]}]
        assert found["sourceRanges"] == ["10.0.0.0/8", ALLOWED]
        assert found["sourceTags"] == found["targetTags"] == [RULE]
        assert found["direction"] == "INGRESS"
        assert gce.count("firewalls.insert") == 1
        assert gce.count("firewalls.patch") == 0

    run(test, allow=["192.0.2.7", ALLOWED, "10.0.0.0/8", "10.1.0.0/16"])


def test_driver_is_let_in_at_its_new_address_and_not_at_its_old_one(run, gce, tmp_path, caplog):
    (key := tmp_path / "key.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBYm me\n")

    async def test(kit):
        instances = await kit.start()
        await kit.system.restore_access(instances)  # where it was
        assert gce.count("firewalls.patch") == 0
        move(kit)
        await kit.system.restore_access(instances)
        assert rule(gce)["sourceRanges"] == [MOVED]
        assert rule(gce)["allowed"] == [{"IPProtocol": "tcp", "ports": ["7443", "22"]}]
        assert rule(gce)["sourceTags"] == [RULE]
        assert f"from {ALLOWED} to {MOVED}" in caplog.text
        assert "is restored" not in caplog.text

    run(test, ssh_key=str(key))


@pytest.mark.parametrize("how", ["deleted", "disabled", "narrowed"])
def test_rule_that_somebody_has_spoilt_is_restored(run, gce, caplog, how):
    async def test(kit):
        instances = await kit.start()
        before = {**rule(gce)}
        if how == "deleted":
            del gce.firewalls.all[RULE]
        elif how == "disabled":
            rule(gce)["disabled"] = True
        else:
            rule(gce)["sourceTags"] = []
        await kit.system.restore_access(instances)
        for key in ("sourceRanges", "sourceTags", "targetTags", "allowed", "disabled"):
            assert rule(gce)[key] == before[key]
        assert (
            "somebody has changed or deleted the session's firewall: it is restored" in caplog.text
        )

    run(test)


@pytest.mark.long
def test_rule_that_was_reaped_between_two_starts_is_created_again(run, gce):
    async def test(kit):
        await kit.start()
        del gce.firewalls.all[RULE]
        await kit.system.start(1, kit.request)
        assert rule(gce)["sourceRanges"] == [ALLOWED]

    run(test)


@pytest.mark.long
def test_driver_that_may_not_change_its_rule_is_told_once(run, gce, caplog):
    async def test(kit):
        instances = await kit.start()
        denied = "Required 'compute.firewalls.update' permission for 'projects/p'"
        gce.refuse_always("firewalls.patch", GceError(403, "forbidden", denied))
        move(kit)
        for _ in range(3):
            await kit.system.restore_access(instances)
        assert rule(gce)["sourceRanges"] == [ALLOWED]
        assert caplog.text.count("lacks the permission compute.firewalls.update") == 1

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("consistent")
def test_rule_in_a_shared_network_is_in_the_host_project(run, gce):
    gce.networks.add("shared", project="host", mode="auto")

    async def test(kit):
        await kit.start()
        [call] = gce.calls("firewalls.insert")
        assert call.project == "host"
        found = await GcpSystem(kit.options).instances()
        rules = [one for one in found if one.kind == "firewall-rule"]
        assert [one.details["project"] for one in rules] == ["host"]

    run(test, network="projects/host/global/networks/shared")
