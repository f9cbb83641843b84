"""GCE in a box: instances boot, run their metadata's programs, and end as on Google's computers."""

from __future__ import annotations

import base64
import gzip

import pytest

from tests.support.gcp.box import IMAGE
from tests.support.gcp.rest import Rest
from tests.support.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(240)]

UBUNTU = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64"
HERE = "zones/us-central1-a"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
SPOT = {
    "provisioningModel": "SPOT",
    "instanceTerminationAction": "DELETE",
    "preemptionNoticeDuration": {"seconds": "10"},
}
ASK = """#!/usr/bin/python3
import json, urllib.request

def send(url, method="GET", **headers):
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    request = urllib.request.Request(url, method=method, headers=headers)
    return urllib.request.urlopen(request).read().decode()

def ask(path):
    url = f"http://metadata.google.internal/computeMetadata/v1/{path}"
    return send(url, Metadata_Flavor="Google")
"""
DELETE = """
token = json.loads(ask("instance/service-accounts/default/token"))["access_token"]
project, zone = ask("project/project-id"), ask("instance/zone").rpartition("/")[2]
path = f"projects/{project}/zones/{zone}/instances/{ask('instance/name')}"
send(f"API/compute/v1/{path}", "DELETE", Authorization=f"Bearer {token}")
"""
# A change between two requests is seen by the one after them.
TELL = """
print("READY", flush=True)
while ask("instance/preempted?wait_for_change=true&timeout_sec=1") != "TRUE":
    pass
print("IT IS TRUE", flush=True)
"""


@pytest.fixture
def insert(gce_box, gce, consistent):
    """Insert an instance with this metadata, and return its name."""
    rest = Rest(gce)

    def insert(image=IMAGE, *, name="vm-1", **fields):
        metadata = {
            "items": [{"key": key, "value": value} for key, value in fields.pop("metadata")]
        }
        disk = {"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": image}}
        network = {"network": "global/networks/default"}
        done = rest.insert(
            name=name, disks=[disk], networkInterfaces=[network], metadata=metadata, **fields
        )
        assert "error" not in done
        return name

    return insert


def console(gce, name):
    return Rest(gce)("GET", f"{HERE}/instances/{name}/serialPort")["contents"]


def delete(gce, name):
    rest = Rest(gce)
    rest.finish(rest("DELETE", f"{HERE}/instances/{name}"))


def test_startup_script_and_user_data_are_run(gce_box, gce, insert):
    data = base64.b64encode(gzip.compress(b"#!/bin/sh\necho HELLO > /dev/console\n")).decode()
    encoded = [("user-data", data), ("user-data-encoding", "base64")]
    names = [
        insert(name="vm-1", metadata=[("startup-script", "#!/bin/sh\necho HELLO")]),
        insert(UBUNTU, name="vm-2", metadata=encoded),
    ]
    for name in names:
        until(lambda name=name: "HELLO" in console(gce, name))
        delete(gce, name)
    assert gce_box.running() == []


def test_guest_deletes_its_instance_with_its_own_token(gce_box, gce, insert):
    account = {"email": gce.default_account, "scopes": [SCOPE]}
    script = ASK + DELETE.replace("API", gce.url)
    insert(metadata=[("startup-script", script)], serviceAccounts=[account])
    until(lambda: gce.leftovers() == [])
    assert gce.calls("instances.delete")[0].user == gce.default_account


def test_guest_that_powers_off_leaves_an_instance_with_its_disk(gce_box, gce, insert):
    insert(metadata=[("startup-script", "#!/bin/sh\nsystemctl poweroff")])
    until(lambda: gce.leftovers() == ["disk vm-1", "instance vm-1 (TERMINATED)"])
    delete(gce, "vm-1")


def test_preempted_guest_is_told_and_then_deleted(gce_box, gce, insert):
    script = ASK + TELL
    insert(metadata=[("startup-script", script)], scheduling=SPOT)
    until(lambda: "READY" in console(gce, "vm-1"))
    [host] = gce_box.hosts.values()
    gce.preempt("vm-1")
    until(lambda: gce.leftovers() == [])
    assert "IT IS TRUE" in host.console()
