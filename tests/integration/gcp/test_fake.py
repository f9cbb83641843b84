"""The tests' Compute Engine answers Google's own client as Google does."""

from __future__ import annotations

import google.auth
import pytest
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions

from tests.support.gcp.gce import PROJECT, ZONE
from tests.support.schemas import REFUSED

HERE = {"project": PROJECT, "zone": ZONE}
IMAGE = "projects/debian-cloud/global/images/family/debian-12"


@pytest.fixture
def client(gce):
    """Return the client of a service, by the name of its class."""
    from google.cloud import compute_v1  # here, not while tests are collected: it takes seconds

    made = {}

    def client(name):
        if name not in made:
            credentials, _ = google.auth.default(
                scopes=["https://www.googleapis.com/auth/cloud-platform"]
            )
            options = ClientOptions(api_endpoint=gce.url)
            made[name] = getattr(compute_v1, name)(credentials=credentials, client_options=options)
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
        while operation.status.name != "DONE":
            operation = client("ZoneOperationsClient").wait(operation=operation.name, **HERE)
        return operation

    return finish


def test_instance_is_made_by_an_operation_and_deleted_with_its_disk(
    gce, client, finish, consistent
):
    instances = client("InstancesClient")
    made = instances.insert_unary(instance_resource=spec(), **HERE)
    assert made.status.name == "PENDING"
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


def bulk(names, **fields):
    properties = spec()
    del properties["name"]
    properties["machine_type"] = "n2-standard-2"
    return {
        "count": len(names),
        "min_count": 1,
        "per_instance_properties": {name: {} for name in names},
        "instance_properties": properties,
        **fields,
    }


def in_region(gce, client, names, **fields):
    """Return the operation of a regional bulk insert when it is done, and the instances' zones."""
    place = {"project": PROJECT, "region": "us-central1"}
    clients = client("RegionInstancesClient"), client("RegionOperationsClient")
    resource = {"bulk_insert_instance_resource_resource": bulk(names, **fields)}
    operation = clients[0].bulk_insert_unary({**place, **resource})
    while operation.status.name != "DONE":
        operation = clients[1].wait({**place, "operation": operation.name})
    return operation, [(vm.name, vm.zone) for vm in gce.vms()]


@pytest.fixture
def emptied(gce):
    """Delete all instances after the test."""
    yield
    for vm in gce.vms():
        gce.instances.remove(vm)


def test_regional_bulk_insert_spills_over_to_other_zones_and_types(gce, client, emptied):
    gce.capacity["on-demand n2-standard-2 us-central1-a"] = 1
    for zone in "bcf":
        gce.capacity[f"on-demand n2-standard-2 us-central1-{zone}"] = 0
    selections = {
        "first": {"machine_types": ["n2-standard-2"], "rank": 1},
        "second": {"machine_types": ["e2-standard-2"], "rank": 2},
    }
    policy = {"target_shape": "ANY", "zones": [{"zone": f"zones/us-central1-{z}"} for z in "ab"]}
    operation, made = in_region(
        gce,
        client,
        ["vm-1", "vm-2"],
        location_policy=policy,
        instance_flexibility_policy={"instance_selections": selections},
    )
    assert operation.error.errors == []
    types = [vm.document["machineType"].rpartition("/")[2] for vm in gce.vms()]
    assert sorted(types) == ["e2-standard-2", "n2-standard-2"]  # a map has no order
    assert {zone for _, zone in made} <= {"us-central1-a", "us-central1-b"}


def test_causes_of_a_failed_bulk_insert_are_in_its_childrens_operations(gce, client, consistent):
    for zone in "abcf":
        gce.capacity[f"on-demand n2-standard-2 us-central1-{zone}"] = 0
    operation, made = in_region(gce, client, ["vm-1"])
    assert [error.code for error in operation.error.errors] == ["VM_MIN_COUNT_NOT_REACHED"]
    assert made == []
    [[zone, status]] = (
        operation.instances_bulk_insert_operation_metadata.per_location_status.items()
    )
    assert (status.target_vm_count, status.failed_to_create_vm_count) == (1, 1)
    place = {"project": PROJECT, "zone": zone.removeprefix("zones/")}
    children = client("ZoneOperationsClient").list({**place, "filter": 'operationType = "insert"'})
    [child] = [of for of in children if of.operation_group_id == operation.operation_group_id]
    [error] = child.error.errors
    assert error.code == "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
    assert error.error_details[2].error_info.metadatas["vmType"] == "n2-standard-2"


def test_bulk_insert_below_its_minimum_is_rolled_back(gce, client):
    for zone in "abcf":
        gce.capacity[f"on-demand n2-standard-2 us-central1-{zone}"] = 1
    operation, made = in_region(gce, client, ["vm-1", "vm-2"], min_count=2)
    assert operation.error.errors[0].code == "VM_MIN_COUNT_NOT_REACHED"
    [status] = operation.instances_bulk_insert_operation_metadata.per_location_status.values()
    assert (status.created_vm_count, status.deleted_vm_count) == (1, 1)
    assert made == []


def test_bulk_insert_with_a_url_for_a_machine_type_fails(gce, client):
    resource = bulk(["vm-1"])
    resource["instance_properties"]["machine_type"] = f"zones/{ZONE}/machineTypes/n2-standard-2"
    with pytest.raises(exceptions.ServiceUnavailable, match="INTERNAL_ERROR"):
        client("InstancesClient").bulk_insert_unary(
            bulk_insert_instance_resource_resource=resource, **HERE
        )
    assert "must be a name, not a URL" in REFUSED.pop()
