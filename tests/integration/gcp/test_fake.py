"""The tests' Compute Engine answers Google's own client as Google does."""

from __future__ import annotations

import google.auth
import pytest
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.cloud import compute_v1 as compute

from tests.support.gcp.gce import PROJECT, ZONE
from tests.support.schemas import REFUSED

HERE = {"project": PROJECT, "zone": ZONE}
IMAGE = "projects/debian-cloud/global/images/family/debian-12"


@pytest.fixture
def client(gce):
    """Return the client of a service, by the name of its class."""
    made = {}

    def client(name):
        if name not in made:
            credentials, _ = google.auth.default(
                scopes=["https://www.googleapis.com/auth/cloud-platform"]
            )
            options = ClientOptions(api_endpoint=gce.url)
            made[name] = getattr(compute, name)(credentials=credentials, client_options=options)
        return made[name]

    yield client
    for of in made.values():
        of.transport.close()


def spec(name="vm-1", **fields):
    return {
        "name": name,
        "machine_type": f"zones/{ZONE}/machineTypes/n2-standard-2",
        "disks": [
            {"boot": True, "auto_delete": True, "initialize_params": {"source_image": IMAGE}}
        ],
        "network_interfaces": [
            {"network": "global/networks/default", "access_configs": [{"type_": "ONE_TO_ONE_NAT"}]}
        ],
        **fields,
    }


@pytest.fixture
def finish(client):
    """Wait for an operation of a zone, and return it."""

    def finish(operation):
        while operation.status != compute.Operation.Status.DONE:
            operation = client("ZoneOperationsClient").wait(operation=operation.name, **HERE)
        return operation

    return finish


def test_instance_is_made_by_an_operation_and_deleted_with_its_disk(
    gce, client, finish, consistent
):
    instances = client("InstancesClient")
    made = instances.insert_unary(instance_resource=spec(), **HERE)
    assert made.status == compute.Operation.Status.PENDING
    finish(made)
    vm = instances.get(instance="vm-1", **HERE)
    assert (vm.status, vm.network_interfaces[0].network_i_p) == ("RUNNING", "10.128.0.2")
    assert vm.network_interfaces[0].access_configs[0].nat_i_p.startswith("203.0.113.")
    assert [disk.name for disk in client("DisksClient").list(**HERE)] == ["vm-1"]
    assert gce.leftovers() == ["disk vm-1", "instance vm-1 (RUNNING)"]
    finish(instances.delete_unary(instance="vm-1", **HERE))
    with pytest.raises(exceptions.NotFound, match="instances/vm-1' was not found"):
        instances.get(instance="vm-1", **HERE)


def test_request_that_the_document_does_not_allow_is_refused(client):
    with pytest.raises(exceptions.BadRequest, match="resource.name"):
        client("InstancesClient").insert_unary(instance_resource=spec("VM_1"), **HERE)
    [refused] = REFUSED
    REFUSED.clear()
    assert "compute.instances.insert: resource.name: 'VM_1': must match" in refused
