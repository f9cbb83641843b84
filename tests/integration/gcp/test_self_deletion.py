"""An instance deletes itself with the token of its service account, and says what came of it."""

from __future__ import annotations

import sys

import pytest
import trio

from bigmachine_gcp import GcpOptions
from bigmachine_gcp.guest._delete_instance import MAX_SECONDS
from bigmachine_gcp.guest._self_deletion import self_deletion, warn_of_disks
from tests.support.cloudbox import Gce
from tests.support.gcp.errors import GceError
from tests.support.gcp.gce import PROJECT, REGION, ZONE
from tests.support.gcp.metadata import MetadataServer
from tests.support.vms.pythons import oldest_python
from tests.support.waiting import until

DELETE = "instances.delete"
DELETED = "bigmachine: Google deletes this instance\n"
DISK = {"boot": True, "autoDelete": True, "type": "PERSISTENT", "deviceName": "persistent-disk-0"}
NIC = {
    "network": "global/networks/default",
    "subnetwork": f"regions/{REGION}/subnetworks/default",
}


@pytest.fixture
def vm(gce):
    """An instance of the tests' Compute Engine."""
    body = {
        "name": "bm-main-0123abcd-m0",
        "machineType": f"zones/{ZONE}/machineTypes/n2-standard-2",
        "disks": [DISK],
        "networkInterfaces": [NIC],
    }
    return gce.instances.add(ZONE, body)


@pytest.fixture
def delete(gce, vm, tmp_path):
    """Run the program as the instance does; return what it printed, and its exit status."""

    def delete(*, url=gce.url, python=sys.executable, has_account=True, seconds=0, **faults):
        token = {"access_token": gce.oauth.issue(), "expires_in": 3599, "token_type": "Bearer"}
        cloud = Gce(name=vm.name, project=PROJECT, zone=ZONE, token=token if has_account else None)
        file = tmp_path / "delete.py"

        async def main():
            async with MetadataServer(cloud, **faults).serving() as server:
                program = self_deletion(url, metadata_url=server.url)
                limit = f"MAX_SECONDS = {MAX_SECONDS}\n"
                assert limit in program
                file.write_text(program.replace(limit, f"MAX_SECONDS = {seconds or 60}\n"))
                return await trio.run_process(
                    [python, file], check=False, capture_stdout=True, capture_stderr=True
                )

        done = trio.run(main)
        return done.stdout.decode() + done.stderr.decode(), done.returncode

    return delete


def test_instance_deletes_itself_once(gce, vm, delete):
    assert delete(python=oldest_python()) == (DELETED, 0)
    assert delete() == ("", 0)
    assert gce.count(DELETE) == 1
    until(lambda: gce.leftovers() == [])
    assert vm in gce.instances.ended


def test_instance_that_is_already_deleted_is_content(gce, vm, delete):
    gce.instances.remove(vm)
    assert delete() == (DELETED, 0)


def test_what_passes_is_tried_again(gce, vm, delete):
    not_ready = f"The resource 'projects/{PROJECT}/{vm.path}' is not ready"
    gce.refuse(DELETE, GceError(400, "resourceNotReady", not_ready))
    gce.refuse(DELETE, GceError(403, "rateLimitExceeded", "Quota exceeded"))
    gce.refuse(DELETE, GceError(503, "backendError", "unavailable"))
    assert delete(unavailable=1) == (DELETED, 0)
    assert gce.count(DELETE) == 4
    until(lambda: gce.leftovers() == [])
    assert vm in gce.instances.ended


def test_refusal_is_said_at_once_with_what_it_costs(gce, vm, delete):
    text = "Required 'compute.instances.delete' permission for 'projects/p'"
    gce.refuse_always(DELETE, GceError(403, "forbidden", text))
    said, status = delete()
    assert status
    assert f"this instance can't delete itself: 403 {text}. It powers off" in said
    assert "its disks cost money until it is deleted, as by `bigmachine reap gcp`" in said
    assert gce.count(DELETE) == 1
    assert "can't delete itself: it has no service account" in delete(has_account=False)[0]
    gce.instances.remove(vm)


@pytest.mark.long
def test_what_does_not_pass_is_given_up_in_time(delete, vm, gce):
    assert MAX_SECONDS <= 30  # systemd waits 90 s for it, and Google 30 s for a spot instance
    assert "can't delete itself: no answer. It" in delete(is_silent=True, seconds=1)[0]
    gce.refuse_always(DELETE, GceError(503, "backendError", "unavailable"))
    assert "can't delete itself: 503 unavailable. It" in delete(seconds=1)[0]
    said, status = delete(url="http://127.0.0.1:1", seconds=1)
    assert "Connection refused" in said
    assert status
    gce.instances.remove(vm)


def test_disks_that_may_be_left_are_told_of(caplog):
    for options in ({"service_account": "default"}, {"immortal": True, "lifetime": 60.0}):
        warn_of_disks(GcpOptions(**options), session="main-0123abcd.bigmachine")
    assert not caplog.records
    warn_of_disks(GcpOptions(), session="main-0123abcd.bigmachine")
    [told] = [record.getMessage() for record in caplog.records]
    assert "their disks cost money until you run `bigmachine reap gcp main-0123abcd" in told
    assert "With the option service_account, instances delete themselves" in told
