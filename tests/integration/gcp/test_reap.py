"""``bigmachine ps gcp`` and ``reap gcp``: what dead sessions have left is found and freed."""

from __future__ import annotations

import json

import pytest

from bigmachine.boot import Driver
from bigmachine.cli import main
from bigmachine_gcp import GcpOptions
from bigmachine_gcp.options._labels import description
from tests.support.gcp.errors import GceError
from tests.support.gcp.fixtures import TYPE
from tests.support.gcp.gce import REGION, ZONE

DEAD = Driver(pid=4_000_000, started=1, place=Driver.here().place, host="here")
SESSION = "a-0123abcd.bigmachine"
OTHER = "b-0123abcd.bigmachine"


@pytest.fixture(autouse=True)
def options(gce, monkeypatch):
    gce.chance.probability = 0.0
    monkeypatch.setenv("BIGMACHINE_GCP_ENDPOINT_URL", gce.url)
    monkeypatch.setenv("BIGMACHINE_GCP_ZONES", ZONE)
    monkeypatch.setattr("bigmachine_gcp.api._api._UNREACHABLE_ATTEMPTS", 1)


def fill(gce, session, driver=DEAD):
    """Give a session an instance that runs, one that is off, a disk of neither, and a rule."""
    text = description(session, driver, GcpOptions())
    name = f"bm-{session.partition('.')[0]}"
    own = {"description": text, "labels": {"bigmachine-session": name.removeprefix("bm-")}}
    for number, (zone, status) in enumerate([(ZONE, "RUNNING"), (f"{REGION}-b", "TERMINATED")]):
        body = {
            "name": f"{name}-m{number}",
            "machineType": f"zones/{zone}/machineTypes/{TYPE}",
            "disks": [{"boot": True}],
            "networkInterfaces": [{"subnetwork": f"regions/{REGION}/subnetworks/default"}],
            **own,
        }
        gce.instances.add(zone, body, status=status)
    gce.disks.add(ZONE, f"{name}-m7-data-0", **own)
    gce.firewalls.add(name, description=text, allowed=[{"IPProtocol": "tcp"}])


def test_all_of_a_dead_session_is_listed_and_freed_and_nothing_else(gce, capsys):
    fill(gce, SESSION)
    fill(gce, OTHER, Driver.here())
    assert main(["ps", "gcp", "--json"]) == 0
    sessions = json.loads(capsys.readouterr().out)["sessions"]
    [session] = [one for one in sessions if one["session"] == SESSION]
    listed = session["resources"]
    found = sorted((one["kind"], one["id"], one.get("state", "")) for one in listed)
    assert found == [
        ("disk", "bm-a-0123abcd-m7-data-0", "READY"),
        ("firewall-rule", "bm-a-0123abcd", ""),
        ("instance", "bm-a-0123abcd-m0", "RUNNING"),
        ("instance", "bm-a-0123abcd-m1", "TERMINATED"),
    ]
    assert main(["reap", "gcp"]) == 0
    left = [one for one in gce.leftovers() if "bm-a" in one]
    assert left == []
    assert len(gce.leftovers()) == 4  # of the session whose driver lives
    assert main(["reap", "gcp", OTHER, "--yes"]) == 0
    assert gce.leftovers() == []


def test_nonsense_on_one_instance_hides_nothing_else(gce, capsys):
    fill(gce, SESSION)
    odd = gce.instances.by_name("bm-a-0123abcd-m0")
    fields = {"session": SESSION, "port": "any", "driver": [1], "started": {}}
    odd.document["description"] = json.dumps(fields)
    assert main(["ps", "gcp", "--json"]) == 0
    [session] = json.loads(capsys.readouterr().out)["sessions"]
    assert sorted(one["kind"] for one in session["resources"]) == [
        "disk",
        "firewall-rule",
        "instance",
        "instance",
    ]
    assert main(["reap", "gcp", SESSION, "--yes"]) == 0


@pytest.mark.long
def test_instance_that_is_listed_and_not_found_at_once_is_freed_all_the_same(gce):
    fill(gce, SESSION)
    gce.refuse("instances.get", GceError(404, "notFound", "The resource was not found"), times=2)
    assert main(["reap", "gcp"]) == 0
    assert gce.leftovers() == []


@pytest.mark.long
def test_firewall_rule_that_a_list_lacks_is_freed(run, gce):
    async def test(kit):
        await kit.start()
        [rule] = [one for one in await kit.system.instances() if one.kind == "firewall-rule"]
        gce.edit("firewalls.list", lambda answer: {**answer, "items": []})
        await kit.system.stop(rule)
        assert rule.id not in gce.firewalls.all

    run(test)


def test_rest_is_listed_and_freed_if_a_zone_cannot_be_reached(gce, capsys):
    fill(gce, SESSION)
    gce.unreachable_zones.add(f"{REGION}-b")
    assert main(["ps", "gcp"]) == 1
    out, err = capsys.readouterr()
    assert ("bm-a-0123abcd-m0" in out, "bm-a-0123abcd-m1" in out) == (True, False)
    assert f"this may not be all: Google can't reach zones/{REGION}-b" in err
    assert main(["reap", "gcp"]) == 1
    out, err = capsys.readouterr()
    assert "Nothing to free" not in out
    assert f"there may be more, run it again later: gcp: Google can't reach zones/{REGION}-b" in err
    assert [vm.name for vm in gce.vms()] == ["bm-a-0123abcd-m1"]
    gce.unreachable_zones.clear()
    assert main(["reap", "gcp"]) == 0
    assert gce.leftovers() == []
