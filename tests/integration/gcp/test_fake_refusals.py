"""The tests' Compute Engine refuses what Google refuses, in Google's words."""

from __future__ import annotations

import pytest

from tests.support.gcp.catalog import MachineType
from tests.support.gcp.rest import IMAGE, Rest, instance
from tests.support.schemas import REFUSED

HERE = "zones/us-central1-a"
ARM = "projects/debian-cloud/global/images/family/debian-12-arm64"


@pytest.fixture
def rest(gce, consistent):
    return Rest(gce)


def boot(**params):
    params = {"sourceImage": IMAGE, **params}
    return [{"boot": True, "autoDelete": True, "initializeParams": params}]


def local_ssd(**params):
    params = {"diskType": f"{HERE}/diskTypes/local-ssd", **params}
    return {"type": "SCRATCH", "autoDelete": True, "initializeParams": params}


def of_type(name):
    return {"machineType": f"{HERE}/machineTypes/{name}"}


@pytest.mark.parametrize(
    ("fields", "status", "reason", "words"),
    [
        (of_type("n9-standard-2"), 400, "invalid", "with name 'n9-standard-2' does not exist"),
        ({"disks": boot(sourceImage=ARM)}, 400, "invalidResourceUsage", r"\(ARM64\) is not compat"),
        ({"disks": boot(sourceImage=IMAGE + "x")}, 400, "invalid", "image resource cannot be fo"),
        ({"disks": boot(diskSizeGb="5")}, 400, "invalid", "Disk size must be between 10 GB and"),
        (of_type("c4-standard-2") | {"disks": boot(diskType=f"{HERE}/diskTypes/pd-ssd")}, 400,
         "badRequest", r"\[pd-ssd, c4-standard-2\] features are not compatible"),
        (of_type("g2-standard-4") | {"disks": boot(diskType=f"{HERE}/diskTypes/pd-standard")}, 400,
         "badRequest", r"\[pd-standard, g2-standard-4\] features are not compatible"),
        ({"disks": [*boot(), local_ssd(labels={"a": "b"})]}, 400, "invalid", "have no labels"),
        (of_type("g2-standard-4"), 400, "badRequest", "do not support live migration"),
        (of_type("e2-standard-2") | {"scheduling": {"onHostMaintenance": "TERMINATE"}}, 400,
         "badRequest", "unless they are preemptible"),
        ({"networkInterfaces": [{"network": "global/networks/none"}]}, 404, "notFound",
         "networks/none' was not found"),
        ({"networkInterfaces": [{"network": "global/networks/custom"}]}, 400, "invalid",
         "Subnetwork should be specified for custom subnetmode network"),
        ({"networkInterfaces": [{"subnetwork": "regions/us-east1/subnetworks/default"}]}, 400,
         "invalid", "must be in the region"),
        ({"scheduling": {"instanceTerminationAction": "DELETE"}}, 400, "invalid",
         "You cannot specify a termination action"),
        ({"scheduling": {"maxRunDuration": {"seconds": "10"}}}, 400, "invalid", "30 seconds"),
        ({"metadata": {"items": [{"key": "user-data", "value": "x" * 262_145}]}}, 400, "invalid",
         "at most 262144 bytes"),
    ],
)  # fmt: skip
def test_instance_that_can_not_be_is_refused_at_once(gce, rest, fields, status, reason, words):
    gce.networks.add("custom", mode="custom")
    found = rest.refused("POST", f"{HERE}/instances", instance(**fields))
    assert found[:2] == (status, reason)
    assert words.replace("\\", "") in found[2]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"labels": {"Bad": "x"}}, "key: 'Bad': must match"),
        ({"labels": {"a": "x" * 64}}, "64 characters, and the most is 63"),
        ({"surprise": 1}, "resource.surprise: is unknown"),
        ({"scheduling": {"provisioningModel": "CHEAP"}}, "must be one of"),
        ({"scheduling": {"maxRunDuration": {"seconds": 60}}}, "must be of type string"),
        ({"status": "RUNNING"}, "resource.status: is only in answers"),
    ],
)
def test_request_that_the_document_does_not_allow_fails_its_test(gce, rest, fields, problem):
    rest.ask("POST", f"{HERE}/instances", instance(**fields))
    gce.advance(60)
    for vm in gce.vms():
        gce.instances.remove(vm)
    assert any(problem in refused for refused in REFUSED), REFUSED
    REFUSED.clear()


def test_limits_that_are_only_in_descriptions_are_checked(rest):
    assert rest.ask("GET", f"{HERE}/instances", maxResults=501)[0] == 400
    assert rest.ask("DELETE", f"{HERE}/instances/vm-1", requestId="not a uuid")[0] == 400
    assert [of.partition(": ")[0] for of in REFUSED] == [
        "compute.instances.list",
        "compute.instances.delete",
    ]
    REFUSED.clear()


def test_parameter_that_is_gone_is_only_refused_with_a_version(rest):
    assert rest.ask("GET", "aggregated/instances", returnPartialSuccess="true")[0] == 200
    rest.headers["X-Goog-Api-Version"] = "2026-09-01"
    assert rest.ask("GET", "aggregated/instances", returnPartialSuccess="true")[0] == 400
    assert "returnPartialSuccess: is unknown" in REFUSED.pop()


def test_version_is_a_date_and_given_once(rest):
    rest.headers["X-Goog-Api-Version"] = "v1"
    assert rest.ask("GET", HERE)[0] == 400
    rest.headers["X-Goog-Api-Version"] = "2026-09-01"
    assert rest.ask("GET", HERE, **{"$apiVersion": "2026-09-01"})[0] == 400
    assert len(REFUSED) == 2
    REFUSED.clear()


def test_method_that_is_not_emulated_is_said_to_be_missing(rest):
    assert rest.ask("GET", "global/snapshots")[0] == 501
    assert "does not have it" in REFUSED.pop()


def test_answer_that_google_would_not_give_fails_the_test(gce, rest):
    gce.edit("zones.get", lambda answer: {**answer, "status": "SIDEWAYS", "shape": "round"})
    rest("GET", HERE)
    found = sorted(refused.partition(": ")[0] for refused in REFUSED)
    assert found == ["answer of compute.zones.get.shape", "answer of compute.zones.get.status"]
    REFUSED.clear()


def test_zone_is_not_a_region(rest):
    found = rest.refused("GET", "zones/us-central1/instances")
    assert found == (400, "invalid", "Invalid value for field 'zone': 'us-central1'. Unknown zone.")


def test_disabled_api_says_where_to_enable_it(gce, rest):
    gce.access.disabled_apis.add("compute.googleapis.com")
    status, answer = rest.ask("GET", HERE)
    assert (status, answer["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert answer["error"]["errors"][0]["reason"] == "accessNotConfigured"
    [info] = [of for of in answer["error"]["details"] if "reason" in of]
    assert info["reason"] == "SERVICE_DISABLED"
    assert info["metadata"]["activationUrl"].endswith(gce.project_number)


def test_project_without_billing_is_refused(gce, rest):
    gce.access.has_billing = False
    assert rest.ask("GET", HERE)[1]["error"]["details"][1]["reason"] == "BILLING_DISABLED"


def test_token_of_nobody_is_refused(gce):
    assert Rest(gce, token="made-up").refused("GET", HERE)[:2] == (401, "authError")


def test_missing_permission_is_named(gce, rest):
    gce.access.denied.add("compute.instances.setLabels")
    found = rest.refused("POST", f"{HERE}/instances", instance(labels={"a": "b"}))
    path = f"projects/{gce.project}/{HERE}/instances/vm-1"
    assert found[1:] == (
        "forbidden",
        f"Required 'compute.instances.setLabels' permission for '{path}'",
    )


@pytest.mark.parametrize("name", ["c3-standard-192-metal", "a4x-highgpu-4g"])
def test_spot_is_refused_for_types_that_have_none(gce, rest, name):
    gce.catalog.machine_types[name] = MachineType(name, 192, 768 << 10)
    disks = boot(diskType=f"{HERE}/diskTypes/hyperdisk-balanced")
    scheduling = {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"}
    given = instance(**of_type(name), disks=disks, scheduling=scheduling)
    found = rest.refused("POST", f"{HERE}/instances", given)
    assert found == (400, "badRequest", f"{name} does not support the SPOT provisioning model.")


def test_policy_refuses_at_once_or_in_the_operation(gce, rest):
    gce.policies.forbids_external_addresses = True
    found = rest.refused("POST", f"{HERE}/instances", instance())
    assert found[:2] == (412, "conditionNotMet")
    gce.policies.at_once = False
    operation = rest.insert()
    [error] = operation["error"]["errors"]
    assert (error["code"], error["message"]) == ("CONDITION_NOT_MET", found[2])
    assert operation["httpErrorStatusCode"] == 412


def test_service_account_that_may_not_be_used_is_told_by_the_operation(gce, rest):
    gce.policies.may_act_as = set()
    account = {"email": gce.default_account, "scopes": []}
    operation = rest.insert(serviceAccounts=[account])
    assert operation["error"]["errors"][0]["code"] == "SERVICE_ACCOUNT_ACCESS_DENIED"
    assert operation["httpErrorStatusCode"] == 400


@pytest.mark.parametrize(
    ("machine_type", "place", "metric"),
    [("n2-standard-2", "us-central1", "N2_CPUS"), ("n2-standard-2", "", "CPUS_ALL_REGIONS")],
)
def test_quota_that_is_exceeded_is_told_with_its_limit(gce, rest, machine_type, place, metric):
    gce.quotas.limits[place, metric] = 1.0
    operation = rest.insert(**of_type(machine_type))
    [error] = operation["error"]["errors"]
    assert (error["code"], operation["httpErrorStatusCode"]) == ("QUOTA_EXCEEDED", 403)
    assert error["errorDetails"][0]["quotaInfo"]["limit"] == 1.0
    gce.quotas.at_once = True
    found = rest.refused("POST", f"{HERE}/instances", instance(**of_type(machine_type)))
    assert found == (403, "quotaExceeded", error["message"])


def test_quota_of_new_series_is_not_in_the_list_of_a_region(gce, rest):
    gce.quotas.families["c4"] = 1.0
    operation = rest.insert(**of_type("c4-standard-2"))
    info = operation["error"]["errors"][0]["errorDetails"][0]["quotaInfo"]
    assert info["metricName"] == "compute.googleapis.com/cpus_per_vm_family"
    assert info["dimensions"] == {"region": "us-central1", "vm_family": "C4"}
    listed = {of["metric"] for of in rest("GET", "regions/us-central1")["quotas"]}
    assert "N2_CPUS" in listed
    assert "CPUS_PER_VM_FAMILY" not in listed


def test_subnetwork_without_addresses_has_no_room_for_instances(gce, rest):
    gce.networks.find_subnetwork("us-central1", "default").size = 0
    [error] = rest.insert()["error"]["errors"]
    assert error["code"] == "IP_SPACE_EXHAUSTED_WITH_DETAILS"
    assert error["message"].endswith("/regions/us-central1/subnetworks/default' is exhausted.")


def test_quotas_that_can_not_be_told_are_absent(gce, rest):
    gce.quotas.are_unknown = True
    region = rest("GET", "regions/us-central1")
    assert "quotas" not in region
    assert region["quotaStatusWarning"]["code"]


def test_price_list_has_a_part_of_each_sku_if_that_is_asked_for(rest):
    fields = "nextPageToken,skus(description,category/usageType)"
    path = "/v1/services/6F81-5844-456A/skus"
    page = rest("GET", path, pageSize=2, fields=fields)
    assert len(page["skus"]) == 2
    assert sorted(page["skus"][0]) == ["category", "description"]
