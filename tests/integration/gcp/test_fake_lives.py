"""The tests' Compute Engine: what becomes of instances, disks, firewall rules and operations."""

from __future__ import annotations

import uuid

import pytest

from tests.support.gcp.rest import Rest, instance

HERE = "zones/us-central1-a"
SPOT = {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"}


@pytest.fixture
def rest(gce, consistent):
    return Rest(gce)


@pytest.fixture
def emptied(gce):
    """Delete all instances and disks after the test."""
    yield
    for vm in gce.vms():
        gce.instances.remove(vm)
    gce.disks.all.clear()


def test_operation_goes_through_its_states(gce, rest, emptied):
    gce.operations.step_seconds = 3600
    operation = rest("POST", f"{HERE}/instances", instance())
    seen = [operation["status"]]
    link = gce.relative(operation["selfLink"])
    for _ in range(2):
        gce.advance(3600)
        seen.append(rest("GET", link)["status"])
    assert seen == ["PENDING", "RUNNING", "DONE"]


def test_request_with_the_same_id_is_carried_out_once(gce, rest, emptied):
    id = str(uuid.uuid4())
    first = rest("POST", f"{HERE}/instances", instance(), requestId=id)
    second = rest("POST", f"{HERE}/instances", instance(), requestId=id)
    assert first["name"] == second["name"]
    other = rest.refused("POST", f"{HERE}/instances", instance(name="vm-2"), requestId=id)
    assert other[:2] == (400, "invalid")
    rest.finish(first)
    assert [vm.name for vm in gce.vms()] == ["vm-1"]


def test_lost_answer_is_that_of_a_request_which_was_carried_out(gce, rest, emptied):
    id = str(uuid.uuid4())
    gce.lose_answer("instances.insert")
    assert rest.ask("POST", f"{HERE}/instances", instance(), requestId=id)[0] == 503
    rest.finish(rest("POST", f"{HERE}/instances", instance(), requestId=id))
    assert [vm.status for vm in gce.vms()] == ["RUNNING"]


def test_preempted_instance_is_deleted_or_stopped_as_its_action_says(gce, rest, emptied):
    rest.insert(scheduling=SPOT)
    rest.insert(name="vm-2", scheduling={**SPOT, "instanceTerminationAction": "STOP"})
    gce.preempt("vm-1")
    gce.preempt("vm-2")
    gce.advance(60)
    assert [(vm.name, vm.status) for vm in gce.vms()] == [("vm-2", "TERMINATED")]
    kind = 'operationType = "compute.instances.preempted"'
    listed = rest("GET", f"{HERE}/operations", filter=kind)["items"]
    assert [of["targetLink"].rpartition("/")[2] for of in listed] == ["vm-1", "vm-2"]
    assert listed[0]["statusMessage"] == "Instance was preempted."


def test_instance_ends_at_its_max_run_duration_unless_it_was_stopped_before(gce, rest, emptied):
    scheduling = {"maxRunDuration": {"seconds": "3600"}, "instanceTerminationAction": "DELETE"}
    rest.insert(scheduling=scheduling)
    rest.insert(name="vm-2", scheduling=scheduling)
    gce.power_off("vm-2")
    gce.advance(3500)
    assert len(gce.vms()) == 2
    gce.advance(200)
    gce.advance(1)
    assert gce.leftovers() == ["disk vm-2", "instance vm-2 (TERMINATED)"]


def test_disk_stays_that_is_not_deleted_with_its_instance(gce, rest, emptied):
    disk = {**instance()["disks"][0], "autoDelete": False}
    disk["initializeParams"] = {**disk["initializeParams"], "labels": {"a": "b"}}
    rest.insert(disks=[disk])
    in_use = rest.refused("DELETE", f"{HERE}/disks/vm-1")
    assert in_use[:2] == (400, "resourceInUseByAnotherResource")
    rest.finish(rest("DELETE", f"{HERE}/instances/vm-1"))
    [left] = rest("GET", "aggregated/disks", filter="labels.a:*")["items"][HERE]["disks"]
    assert left["name"] == "vm-1"
    rest.finish(rest("DELETE", f"{HERE}/disks/vm-1"))
    assert gce.leftovers() == []


def test_firewall_rule_is_patched_and_deleted(gce, rest):
    rule = {
        "name": "bm-test",
        "allowed": [{"IPProtocol": "tcp", "ports": ["7443"]}],
        "sourceRanges": ["192.0.2.7/32"],
        "targetTags": ["bm-test"],
    }
    rest.finish(rest("POST", "global/firewalls", rule))
    assert rest.refused("POST", "global/firewalls", rule)[:2] == (409, "alreadyExists")
    changed = {"name": "bm-test", "sourceRanges": ["198.51.100.1/32"]}
    rest.finish(rest("PATCH", "global/firewalls/bm-test", changed))
    found = rest("GET", "global/firewalls/bm-test")
    assert (found["sourceRanges"], found["targetTags"]) == (["198.51.100.1/32"], ["bm-test"])
    rest.finish(rest("DELETE", "global/firewalls/bm-test"))
    assert rest.refused("DELETE", "global/firewalls/bm-test")[:2] == (404, "notFound")


def test_new_instance_is_not_seen_by_all_requests_at_first(gce, emptied):
    gce.chance.probability = 1.0
    rest = Rest(gce)
    rest.insert()
    assert rest.refused("GET", f"{HERE}/instances/vm-1")[:2] == (404, "notFound")
    assert "items" not in rest("GET", f"{HERE}/instances")
    for _ in range(5):
        rest("GET", f"{HERE}/instances")
    assert len(rest("GET", f"{HERE}/instances")["items"]) == 1


def test_console_is_read_on_from_where_it_ended(gce, rest, emptied):
    rest.insert()
    [vm] = gce.vms()
    vm.console = "one\n"
    first = rest("GET", f"{HERE}/instances/vm-1/serialPort", port=1)
    vm.console += "two\n"
    second = rest("GET", f"{HERE}/instances/vm-1/serialPort", port=1, start=first["next"])
    assert (first["contents"], second["contents"]) == ("one\n", "two\n")


def test_console_of_a_stopped_instance_is_empty(gce, rest, emptied):
    rest.insert()
    gce.vms()[0].console = "one\n"
    gce.power_off("vm-1")
    assert rest("GET", f"{HERE}/instances/vm-1/serialPort")["contents"] == ""


def test_instance_that_is_being_changed_is_sometimes_not_ready(gce, rest, emptied):
    gce.chance.probability = 1.0
    gce.operations.step_seconds = 3600
    rest("POST", f"{HERE}/instances", instance())
    gce.advance(3600)
    answers = {rest.ask("DELETE", f"{HERE}/instances/vm-1")[0] for _ in range(60)}
    assert answers == {200, 400}


def test_list_has_pages(gce, rest, emptied):
    for n in range(3):
        rest.insert(name=f"vm-{n}")
    first = rest("GET", "aggregated/instances", maxResults=2)
    second = rest("GET", "aggregated/instances", pageToken=first["nextPageToken"])
    names = [vm["name"] for page in (first, second) for vm in page["items"][HERE]["instances"]]
    assert names == ["vm-0", "vm-1", "vm-2"]
    assert "nextPageToken" not in second


def test_zone_that_can_not_be_reached_is_named_in_a_list_of_all(gce, rest, emptied):
    rest.insert()
    gce.unreachable_zones.add("us-central1-a")
    found = rest("GET", "aggregated/instances")
    assert found["items"][HERE]["warning"]["code"] == "UNREACHABLE"
    assert [place.rpartition("/")[2] for place in found["unreachables"]] == ["us-central1-a"]
    assert rest.ask("GET", f"{HERE}/instances")[0] == 503


@pytest.mark.parametrize(
    ("filter", "names"),
    [
        ('labels.of = "a"', ["vm-1"]),
        ('(labels.of = "a") (status = "RUNNING")', ["vm-1"]),
        ('(labels.of = "a") OR (labels.of = "b")', ["vm-1", "vm-2"]),
        ('NOT labels.of = "a"', ["vm-2"]),
        ("labels.of:*", ["vm-1", "vm-2"]),
        ("labels.other:*", []),
        ("labels.of != a", ["vm-2"]),
        ("name eq vm-.*", ["vm-1", "vm-2"]),
        ("name eq vm", []),
        ("name ne .*-1", ["vm-2"]),
        ('name = "vm-*"', ["vm-1", "vm-2"]),
        ("scheduling.automaticRestart = true", ["vm-1", "vm-2"]),
    ],
)
def test_filter_selects_what_aip_160_says(gce, rest, filter, names):
    from tests.support.gcp.filters import parse_filter

    scheduling = {"automaticRestart": True}
    items = [
        {"name": "vm-1", "labels": {"of": "a"}, "status": "RUNNING", "scheduling": scheduling},
        {"name": "vm-2", "labels": {"of": "b"}, "status": "RUNNING", "scheduling": scheduling},
    ]
    assert [item["name"] for item in items if parse_filter(filter)(item)] == names


@pytest.mark.parametrize("filter", ["labels.of =", "(name = a", "name eq a AND status = b", "a b"])
def test_filter_that_google_can_not_parse_is_refused(rest, filter):
    status, reason, message = rest.refused("GET", f"{HERE}/instances", filter=filter)
    assert (status, reason) == (400, "invalid")
    assert "Invalid list filter expression" in message


def test_instance_may_be_in_a_network_of_a_host_project(gce, rest, emptied):
    gce.networks.add("shared", mode="custom", project="host-project")
    place = {"network": "shared", "region": "us-central1", "block": "10.9.0.0/24"}
    gce.networks.add_subnetwork("default", **place)
    subnetwork = "projects/host-project/regions/us-central1/subnetworks/default"
    rest.insert(networkInterfaces=[{"subnetwork": subnetwork}])
    [nic] = gce.vms()[0].document["networkInterfaces"]
    assert nic["networkIP"] == "10.9.0.2"
    assert nic["network"].endswith("/projects/host-project/global/networks/shared")
    host = "/compute/v1/projects/host-project"
    rule = {"name": "bm-a", "network": nic["network"], "allowed": [{"IPProtocol": "tcp"}]}
    assert rest.ask("POST", "global/firewalls", rule)[0] == 404
    rest.finish(rest("POST", f"{host}/global/firewalls", rule))
    assert [of["name"] for of in rest("GET", f"{host}/global/firewalls")["items"]] == ["bm-a"]
    assert rest.ask("GET", "global/firewalls/bm-a")[0] == 404
    rest.finish(rest("DELETE", f"{host}/global/firewalls/bm-a"))
    assert [of["name"] for of in rest("GET", f"{host}/global/networks")["items"]] == ["shared"]
