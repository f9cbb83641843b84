"""Instances are launched in the user's order, named and labelled on creation, and never twice."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import sys

import pytest

from bigmachine.errors import StartError, UsageError
from bigmachine.system import Instance
from bigmachine_gcp.api._errors import GcpError, QuotaInfo
from bigmachine_gcp.launch._launch_specification import MAX_RUN_SECONDS
from bigmachine_gcp.launch._scope import scope_of
from tests.support.gcp.errors import GceError, OperationError
from tests.support.gcp.fixtures import TYPE
from tests.support.gcp.gce import REGION, ZONE, Gce

SPOT, ON_DEMAND = f"spot {TYPE}", f"on-demand {TYPE}"
ZONES = [f"{REGION}-{letter}" for letter in "abc"]
INVALID = GceError(400, "invalid", "Invalid value for field 'locationPolicy'")


def labels_of(names) -> list[str]:
    return [name.partition(".")[0] for name in names]


def bodies(gce, method="instances.bulkInsert"):
    return [call.body for call in gce.calls(method)]


# -- what is requested ----------------------------------------------------------------


def test_machines_of_one_start_are_launched_by_one_request(run, gce):
    async def test(kit):
        instances = await kit.start(5)
        assert [i.name for i in instances] == [f"m{i}.test-0123abcd.bigmachine" for i in range(5)]
        assert [i.id for i in instances] == [f"bm-test-0123abcd-m{i}" for i in range(5)]
        assert len({i.address for i in instances}) == 5
        assert all(i.address.startswith("10.") for i in instances)
        assert all(i.address.endswith(":7443") for i in instances)
        assert {i.zone for i in instances} == {ZONE}
        assert instances[0].details["instance_type"] == TYPE
        assert instances[0].details["market"] == "spot"
        assert gce.count("instances.bulkInsert") == 1
        assert gce.count("regionInstances.bulkInsert") == 0

    run(test)


def test_instance_ends_for_good_whatever_ends_it(run, gce):
    async def test(kit):
        await kit.start()
        [body] = bodies(gce)
        assert (body["count"], body["minCount"]) == ("1", "1")
        properties = body["instanceProperties"]
        assert properties["scheduling"] == {
            "provisioningModel": "SPOT",
            "automaticRestart": False,
            "onHostMaintenance": "TERMINATE",
            "instanceTerminationAction": "DELETE",
            "maxRunDuration": {"seconds": str(MAX_RUN_SECONDS)},
        }
        [disk] = properties["disks"]
        assert disk["boot"]
        assert disk["autoDelete"]
        assert disk["initializeParams"]["diskSizeGb"] == "20"
        assert "serviceAccounts" not in properties
        assert properties["tags"]["items"] == ["bm-test-0123abcd"]

    run(test)


@pytest.mark.long
def test_on_demand_instance_ends_for_good_too(run, gce):
    async def test(kit):
        await kit.start()
        [body] = bodies(gce)
        assert body["instanceProperties"]["scheduling"] == {
            "provisioningModel": "STANDARD",
            "automaticRestart": False,
            "instanceTerminationAction": "DELETE",
            "maxRunDuration": {"seconds": "3601"},
        }

    run(test, market="on-demand", lifetime=3600.5)


@pytest.mark.long
def test_boot_program_is_in_the_metadata(run, gce):
    async def test(kit):
        await kit.start()
        [body] = bodies(gce)
        items = {i["key"]: i["value"] for i in body["instanceProperties"]["metadata"]["items"]}
        script = items.get("startup-script", "").encode()
        if "user-data" in items:
            assert items["user-data-encoding"] == "base64"
            script = gzip.decompress(base64.b64decode(items["user-data"]))
        assert b'"contact_seconds": 300.0, "silence_seconds": 120.0' in script

    run(test)


def test_all_resources_tell_whose_they_are_from_creation(run, gce, monkeypatch):
    monkeypatch.setenv("LOGNAME", "zoë")
    monkeypatch.setattr(sys, "argv", ["/home/train.py", "--secret", "hunter2"])

    async def test(kit):
        await kit.start(2)
        [body] = bodies(gce)
        properties = body["instanceProperties"]
        params = properties["disks"][0]["initializeParams"]
        labels = properties["labels"]
        assert labels["bigmachine-session"] == "test-0123abcd"
        assert len(labels["bigmachine-request"]) == 32
        assert (labels["team"], labels["empty"]) == ("ml", "")
        assert params["labels"] == labels
        [rule] = bodies(gce, "firewalls.insert")
        assert properties["description"] == params["description"] == rule["description"]
        fields = json.loads(rule["description"])
        assert fields["session"] == "test-0123abcd.bigmachine"
        assert (fields["user"], fields["command"]) == ("zoë", "train.py --secret")
        assert "hunter2" not in rule["description"]

    run(test, labels=["team=ml", "empty="])


def test_instance_options_are_in_the_request(run, gce):
    async def test(kit):
        [instance] = await kit.start()
        [body] = bodies(gce)
        properties = body["instanceProperties"]
        account = {"email": ACCOUNT, "scopes": [COMPUTE_SCOPE]}
        assert properties["serviceAccounts"] == [account]
        assert properties["tags"]["items"] == ["mine", "more"]
        assert properties["shieldedInstanceConfig"] == {"enableSecureBoot": True}
        [interface] = properties["networkInterfaces"]
        assert "accessConfigs" not in interface
        assert interface["subnetwork"].endswith(f"regions/{REGION}/subnetworks/default")
        boot, *data = properties["disks"]
        assert boot["initializeParams"]["diskSizeGb"] == "100"
        assert [disk["deviceName"] for disk in data] == ["data-0", "data-1", "data-2"]
        assert {disk["initializeParams"]["diskSizeGb"] for disk in data} == {"34"}
        assert all(disk["autoDelete"] for disk in data)
        keys = [disk["diskEncryptionKey"] for disk in properties["disks"]]
        assert keys == [{"kmsKeyName": KMS_KEY}] * 4
        assert (
            instance.address == f"{gce.vms()[0].document['networkInterfaces'][0]['networkIP']}:443"
        )
        assert gce.count("firewalls.insert") == 0

    run(
        test,
        market="on-demand",
        service_account=ACCOUNT,
        scopes=["compute"],
        network_tags=["mine", "more"],
        allow=[],
        public_address=False,
        secure_boot=True,
        kms_key=KMS_KEY,
        disk=100,
        data_disk=100,
        data_volumes=3,
        port=443,
    )


ACCOUNT = Gce.default_account
KMS_KEY = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"
COMPUTE_SCOPE = "https://www.googleapis.com/auth/compute"


@pytest.mark.long
def test_gpus_and_local_ssds_are_attached(run, gce):
    async def test(kit):
        await kit.start()
        [body] = bodies(gce)
        properties = body["instanceProperties"]
        card = {"acceleratorType": "nvidia-tesla-t4", "acceleratorCount": 1}
        assert properties["guestAccelerators"] == [card]
        assert properties["scheduling"]["onHostMaintenance"] == "TERMINATE"
        local = [disk for disk in properties["disks"] if disk.get("type") == "SCRATCH"]
        assert [disk["interface"] for disk in local] == ["NVME"]
        assert local[0]["initializeParams"]["diskType"] == "local-ssd"

    options = {"machine_type": "n1-standard-4", "accelerator": "nvidia-tesla-t4"}
    run(test, market="on-demand", local_disks=True, **options)


def test_several_types_and_zones_are_one_regional_request(run, gce):
    async def test(kit):
        await kit.start(2)
        [body] = bodies(gce, "regionInstances.bulkInsert")
        assert body["locationPolicy"] == {
            "targetShape": "ANY",
            "zones": [{"zone": f"zones/{zone}"} for zone in ZONES],
        }
        choices = body["instanceFlexibilityPolicy"]["instanceSelections"].values()
        ranks = sorted((choice["rank"], choice["machineTypes"]) for choice in choices)
        assert ranks == [("0", [TYPE]), ("1", ["n2-standard-4"])]
        assert "machineType" not in body["instanceProperties"]

    run(test, zones=ZONES, machine_type=[TYPE, "n2-standard-4"])


# -- missing capacity, and quotas -----------------------------------------------------


@pytest.mark.usefixtures("consistent")
def test_missing_capacity_of_one_zone_comes_from_the_others(run, gce):
    async def test(kit):
        instances = await kit.start(6)
        assert sorted(i.zone[-1] for i in instances) == list("aabbbc")
        assert labels_of(i.name for i in instances) == [f"m{i}" for i in range(6)]
        assert {i.details["market"] for i in instances} == {"spot"}

    gce.capacity.left = {f"{SPOT} {ZONES[0]}": 2, f"{SPOT} {ZONES[1]}": 3, f"{SPOT} {ZONES[2]}": 1}
    run(test, zones=ZONES)


@pytest.mark.long
def test_missing_spot_capacity_is_bought_on_demand_under_the_names_left(run, gce, caplog):
    async def test(kit):
        with caplog.at_level(logging.WARNING, "bigmachine.gcp"):
            instances = await kit.start(4)
        assert labels_of(i.name for i in instances) == ["m0", "m1", "m2", "m3"]
        markets = sorted(i.details["market"] for i in instances)
        assert markets == ["on-demand"] * 3 + ["spot"]
        assert "not all machines were launched as preferred" in caplog.text
        assert f"spot {TYPE} in {ZONE}: ZONE_RESOURCE_POOL_EXHAUSTED" in caplog.text

    gce.capacity[f"{SPOT} {ZONE}"] = 1
    run(test)


def test_spot_instance_that_is_preempted_while_it_starts_is_replaced(run, gce):
    async def test(kit):
        instances = await kit.start(3)
        assert sorted(i.details["market"] for i in instances) == ["on-demand"] * 2 + ["spot"]
        # Those that failed are left by Google, stopped, with their disks: they are deleted.
        assert {vm.name for vm in gce.vms()} == {i.id for i in instances}
        assert len(gce.leftovers()) == 2 * 3 + 1

    gce.instances.preempts_starting = 2
    run(test)


def test_spot_instance_that_is_preempted_as_soon_as_it_runs_is_replaced(
    run, gce, caplog, monkeypatch
):
    monkeypatch.setattr("bigmachine_gcp.resources._bulk_operations._LISTED_SECONDS", 0.5)

    async def test(kit):
        instances = await kit.start(3)
        assert sorted(i.details["market"] for i in instances) == ["on-demand"] + ["spot"] * 2
        assert {vm.name for vm in gce.vms()} == {i.id for i in instances}
        assert "PREEMPTED: the spot instance was preempted as soon as it ran" in caplog.text

    gce.instances.preempts_new = 1
    run(test)


@pytest.mark.long
def test_spot_instance_that_is_preempted_before_it_has_an_address_is_replaced(run, gce):
    def preempt(answer):
        for vm in answer.get("items", ()):
            if vm["name"].endswith("-m0") and vm["status"] == "RUNNING":
                del vm["networkInterfaces"][0]["accessConfigs"][0]["natIP"]
                gce.preempt(vm["name"])
        return answer

    async def test(kit):
        gce.edit("instances.list", preempt)
        instances = await kit.start(2)
        assert sorted(i.details["market"] for i in instances) == ["on-demand", "spot"]
        assert {vm.name for vm in gce.vms()} == {i.id for i in instances}

    run(test)


@pytest.mark.parametrize("at_once", [True, False])
def test_no_machine_is_an_error_with_every_attempt(run, gce, at_once, caplog):
    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.start()
        text = str(caught.value)
        assert text.startswith("Compute Engine launched no instance in us-central1. What was tried")
        code = "insufficientCapacity" if at_once else "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
        assert f"  spot {TYPE} in {ZONES[0]}, {ZONES[1]}: {code}: " in text
        assert f"  on-demand {TYPE} in {ZONES[0]}, {ZONES[1]}: {code}: " in text
        assert "Name other types or zones" in text
        assert gce.vms() == []
        assert "their disks cost money" not in caplog.text  # there are none

    gce.bulk.refuses_at_once = at_once
    gce.capacity.left = {f"{pool} {zone}": 0 for pool in (SPOT, ON_DEMAND) for zone in ZONES}
    run(test, zones=ZONES[:2])


@pytest.mark.long
def test_quota_for_some_machines_launches_those(run, gce):
    async def test(kit):
        instances = await kit.start(7)
        assert len({i.name for i in instances}) == 3

    gce.quotas.limits[REGION, "N2_CPUS"] = 6.0
    run(test, market="on-demand")


def test_used_up_quota_is_told_with_what_to_do(run, gce):
    async def test(kit):
        system = await kit.setup()
        gce.quotas.limits[REGION, "N2_CPUS"] = 0.0
        with pytest.raises(StartError) as caught:
            await system.start(1, kit.request)
        assert "Quota 'N2_CPUS' exceeded.  Limit: 0.0 in region us-central1." in str(caught.value)
        assert "request a quota increase (IAM & Admin, Quotas)" in str(caught.value)
        assert gce.count("instances.bulkInsert") == 1  # the quota is the same on demand

    run(test)


@pytest.mark.long
def test_type_without_quota_is_passed_over(run, gce):
    async def test(kit):
        system = await kit.setup()
        gce.quotas.limits[REGION, "N2_CPUS"] = 0.0
        [instance] = await system.start(1, kit.request)
        assert instance.details["instance_type"] == "e2-standard-2"

    run(test, machine_type=[TYPE, "e2-standard-2"])


@pytest.mark.long
def test_regional_request_that_google_rejects_is_made_in_each_zone(run, gce, caplog):
    async def test(kit):
        [instance] = await kit.start()
        assert instance.zone == ZONE
        assert gce.count("instances.bulkInsert") == 1

    gce.refuse_always("regionInstances.bulkInsert", INVALID)
    run(test, zones=ZONES)


@pytest.mark.long
def test_wrong_request_is_not_repeated_elsewhere(run, gce):
    async def test(kit):
        with pytest.raises(UsageError, match=r"^service_account: .*SERVICE_ACCOUNT_ACCESS_DENIED"):
            await kit.start()
        assert gce.count("instances.bulkInsert") == 1

    text = "The user does not have access to service account 'w@p'."
    error = OperationError("SERVICE_ACCOUNT_ACCESS_DENIED", text, 400)
    fail_inserts(gce, error)
    run(test, service_account=ACCOUNT, market="on-demand", zones=ZONES[:1])


def fail_inserts(gce, error):
    """Have all instances fail for a reason."""

    def fail(vm):
        raise error

    gce.instances.create = fail


# -- answers that are lost ------------------------------------------------------------


@pytest.mark.parametrize("zones", [[ZONE], ZONES[:2]], ids=["zone", "region"])
def test_lost_answer_is_asked_for_again_and_buys_nothing_twice(run, gce, zones):
    method = "instances.bulkInsert" if len(zones) == 1 else "regionInstances.bulkInsert"

    async def test(kit):
        gce.lose_answer(method, times=2)
        instances = await kit.start(3)
        assert len(instances) == len(gce.vms()) == 3
        assert len({call.requestId for call in gce.calls(method)}) == 1
        assert gce.count(method) == 3

    run(test, zones=zones)


@pytest.mark.parametrize("is_operation_seen", [True, pytest.param(False, marks=pytest.mark.long)])
def test_instances_of_a_request_that_is_never_answered_are_found(
    run, gce, monkeypatch, is_operation_seen
):
    monkeypatch.setattr("bigmachine_gcp.api._api._ATTEMPTS", 1)
    if not is_operation_seen:
        gce.refuse_always("regionOperations.list", INVALID)

    async def test(kit):
        gce.operations.step_seconds = 0.1  # the instances are still to come
        gce.lose_answer("instances.bulkInsert")
        instances = await kit.start(2)
        assert labels_of(i.name for i in instances) == ["m0", "m1"]
        assert len(gce.vms()) == 2
        assert gce.count("instances.bulkInsert") == 1

    run(test)


@pytest.mark.long
def test_start_ends_if_it_is_unknown_what_was_launched(run, gce, monkeypatch):
    monkeypatch.setattr("bigmachine_gcp.api._api._ATTEMPTS", 1)
    denied = GceError(403, "forbidden", "Required 'compute.instances.list' permission")

    async def test(kit):
        system = await kit.setup()
        gce.lose_answer("instances.bulkInsert")
        gce.refuse("instances.list", denied, times=2)
        with pytest.raises(StartError, match=r"compute\.instances\.list"):
            await system.start(2, kit.request)
        await system.shutdown()
        assert gce.vms() == []

    run(test)


# -- the scopes of errors -------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "metric", "market", "scope"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "", "spot", "POOL"),
        ("insufficientCapacity", "", "on-demand", "POOL"),
        ("IP_SPACE_EXHAUSTED", "", "spot", "ALL"),
        ("QUOTA_EXCEEDED", "PREEMPTIBLE_CPUS", "spot", "MARKET"),
        ("QUOTA_EXCEEDED", "N2_CPUS", "spot", "TYPE_ON_ALL_MARKETS"),
        ("quotaExceeded", "CPUS_PER_VM_FAMILY", "on-demand", "TYPE"),
        ("QUOTA_EXCEEDED", "CPUS_ALL_REGIONS", "spot", "ALL"),
        ("QUOTA_EXCEEDED", "IN_USE_ADDRESSES", "on-demand", "ALL"),
        ("PERMISSIONS_ERROR", "", "spot", "MARKET"),
        ("PERMISSIONS_ERROR", "", "on-demand", "ALL"),
        ("invalid", "", "on-demand", "METHOD"),
        ("CONDITION_NOT_MET", "", "spot", "ALL"),
    ],
)
def test_error_rules_out_what_it_is_about(code, metric, market, scope):
    quota = QuotaInfo(metric=f"compute.googleapis.com/{metric.lower()}") if metric else None
    error = GcpError("compute.instances.insert", code, f"{metric} …", quota=quota)
    assert scope_of(error, market=market).name == scope


# -- a start that is not the first ----------------------------------------------------


@pytest.mark.long
def test_later_start_goes_on_with_the_names_and_the_firewall_rule(run, gce, caplog):
    async def test(kit):
        await kit.start(2)
        [third] = await kit.system.start(1, kit.request)
        assert third.name.startswith("m2.")
        assert gce.count("firewalls.insert") == 1
        assert isinstance(third, Instance)
        assert caplog.text.count("their disks cost money") == 1

    run(test)
