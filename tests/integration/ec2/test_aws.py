"""The emulated AWS of these tests behaves like AWS where moto does not."""

from __future__ import annotations

import secrets

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.aws.names import REGION
from tests.support.aws.replicas import Replicas


@pytest.fixture
def ec2(aws):
    import boto3

    config = Config(retries={"total_max_attempts": 1})
    client = boto3.client("ec2", region_name=REGION, endpoint_url=aws.url, config=config)
    yield client
    ids = [vm.id for vm in aws.instances()]
    if ids:
        client.terminate_instances(InstanceIds=ids)
        client.describe_instances()
    client.close()


@pytest.fixture
def request_(aws):
    subnet = next(s for s in aws.ec2.describe_subnets() if s.availability_zone == "us-east-1a")
    return {
        "ImageId": next(iter(aws.ec2.amis)),
        "InstanceType": "c7i.large",
        "MinCount": 1,
        "MaxCount": 3,
        "NetworkInterfaces": [
            {"DeviceIndex": 0, "SubnetId": subnet.id, "DeleteOnTermination": True}
        ],
    }


def code_of(call, **parameters):
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Code"]


def test_run_instances_launches_what_capacity_allows_up_to_max_count(aws, ec2, request_):
    assert len(ec2.run_instances(**request_)["Instances"]) == 3
    aws.capacity["on-demand c7i.large us-east-1a"] = 2
    made = ec2.run_instances(**request_)["Instances"]
    assert [raw["AmiLaunchIndex"] for raw in made] == [0, 1]
    assert code_of(ec2.run_instances, **request_) == "InsufficientInstanceCapacity"


def test_request_with_client_token_is_idempotent(aws, ec2, request_):
    first = ec2.run_instances(ClientToken="t", **request_)
    again = ec2.run_instances(ClientToken="t", **request_)
    assert [i["InstanceId"] for i in first["Instances"]] == [
        i["InstanceId"] for i in again["Instances"]
    ]
    assert len(aws.instances()) == 3
    other = {**request_, "MaxCount": 2}
    assert code_of(ec2.run_instances, ClientToken="t", **other) == "IdempotentParameterMismatch"


def test_user_data_over_16_kib_is_refused(ec2, request_):
    ec2.run_instances(UserData=b"x" * 16384, **request_)
    code = code_of(ec2.run_instances, UserData=b"x" * 16385, **request_)
    assert code == "InvalidParameterValue"


def test_instance_passes_through_pending_and_shutting_down(ec2, request_):
    def look():
        [vm] = ec2.describe_instances()["Reservations"][0]["Instances"]
        return vm["State"]["Name"], bool(vm.get("PublicIpAddress"))

    request = {**request_, "MaxCount": 1}
    request["NetworkInterfaces"][0]["AssociatePublicIpAddress"] = True
    [made] = ec2.run_instances(**request)["Instances"]
    assert made["State"]["Name"] == "pending"
    assert [look(), look()] == [("pending", False), ("running", True)]
    ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    assert [look()[0], look()[0]] == ["shutting-down", "terminated"]


def test_security_group_in_use_cannot_be_deleted(aws, ec2, request_):
    vpc = aws.ec2.get_default_vpc().id
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    request_["NetworkInterfaces"][0]["Groups"] = [group]
    [made] = ec2.run_instances(**{**request_, "MaxCount": 1})["Instances"]
    assert code_of(ec2.delete_security_group, GroupId=group) == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    ec2.describe_instances()
    ec2.delete_security_group(GroupId=group)


@pytest.fixture
def fleet(aws, ec2):
    """The parameters of a fleet of three instances, in two zones, with a launch template."""
    zones = {s.availability_zone: s.id for s in aws.ec2.describe_subnets()}
    data = {
        "ImageId": next(iter(aws.ec2.amis)),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required"},
        "UserData": "aGVsbG8=",
        "NetworkInterfaces": [{"DeviceIndex": 0, "DeleteOnTermination": True}],
        "TagSpecifications": [
            {"ResourceType": "spot-instances-request", "Tags": [{"Key": "a", "Value": "b"}]}
        ],
    }
    ec2.create_launch_template(LaunchTemplateName="template", LaunchTemplateData=data)
    overrides = [
        {"InstanceType": "c7i.large", "SubnetId": zones["us-east-1a"], "Priority": 2.0},
        {"InstanceType": "c7i.large", "SubnetId": zones["us-east-1b"], "Priority": 1.0},
    ]
    template = {"LaunchTemplateName": "template", "Version": "1"}
    yield {
        "Type": "instant",
        "LaunchTemplateConfigs": [
            {"LaunchTemplateSpecification": template, "Overrides": overrides}
        ],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": 3,
            "DefaultTargetCapacityType": "spot",
        },
    }
    ec2.delete_launch_template(LaunchTemplateName="template")


def test_fleet_fills_pools_by_priority_and_reports_missing_capacity(aws, ec2, fleet):
    aws.capacity = {"spot c7i.large us-east-1a": 1, "spot c7i.large us-east-1b": 1}
    reply = ec2.create_fleet(**fleet)
    zones = [raw["AvailabilityZone"] for raw in map(overrides_of, reply["Instances"])]
    assert zones == ["us-east-1b", "us-east-1a"]
    assert [len(raw["InstanceIds"]) for raw in reply["Instances"]] == [1, 1]
    assert [raw["ErrorCode"] for raw in reply["Errors"]] == ["InsufficientInstanceCapacity"] * 2
    assert [raw["Lifecycle"] for raw in reply["Errors"]] == ["spot"] * 2


def overrides_of(raw):
    return raw["LaunchTemplateAndOverrides"]["Overrides"]


def test_fleet_instances_follow_the_launch_template(aws, ec2, fleet):
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "v"}]}]
    reply = ec2.create_fleet(**fleet, TagSpecifications=tags)
    assert len(reply["Instances"][0]["InstanceIds"]) == len(aws.instances()) == 3
    for vm in aws.instances():
        assert vm.instance_initiated_shutdown_behavior == "terminate"
        assert vm.metadata_options.http_tokens == "required"
        assert str(vm.user_data) == "aGVsbG8="
        assert vm.lifecycle == "spot"
        told = {tag["key"]: tag["value"] for tag in vm.get_tags()}
        assert told == {"k": "v", "aws:ec2:fleet-id": reply["FleetId"]}


def test_fleet_with_client_token_is_idempotent_and_dry_run_launches_none(aws, ec2, fleet):
    assert code_of(ec2.create_fleet, DryRun=True, **fleet) == "DryRunOperation"
    assert not aws.instances()
    first = ec2.create_fleet(ClientToken="t", **fleet)
    again = ec2.create_fleet(ClientToken="t", **fleet)
    assert first["FleetId"] == again["FleetId"]
    assert len(aws.instances()) == 3


def test_invalid_fleet_is_refused(aws, ec2, fleet):
    second = aws.ec2.create_subnet(aws.ec2.get_default_vpc().id, "172.31.240.0/24", "us-east-1a")
    config = fleet["LaunchTemplateConfigs"][0]
    on_demand = {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"}
    reply = ec2.create_fleet(**{**fleet, "TargetCapacitySpecification": on_demand})
    assert {raw["ErrorCode"] for raw in reply["Errors"]} == {"InvalidParameterValue"}
    config["Overrides"][1]["SubnetId"] = second.id
    assert code_of(ec2.create_fleet, **fleet) == "InvalidFleetConfig"
    aws.ec2.delete_subnet(second.id)
    config["LaunchTemplateSpecification"]["LaunchTemplateName"] = "another"
    code = code_of(ec2.create_fleet, **fleet)
    assert code == "InvalidLaunchTemplateName.NotFoundException"
    assert code_of(ec2.delete_launch_template, LaunchTemplateName="another") == code


def test_new_resource_is_at_times_not_found_by_the_same_requests_of_a_seed(aws):
    def seen(seed):
        replicas = Replicas(seed)
        with replicas.answering(aws.ec2, "CreateSecurityGroup"):
            group = aws.ec2.create_security_group(secrets.token_hex(4), "a group")
        for _ in range(12):
            with replicas.answering(aws.ec2, "DescribeSecurityGroups"):
                yield aws.ec2.get_security_group_from_id(group.id) is not None

    by_seed = {seed: [*seen(seed)] for seed in "abcdefgh"}
    assert by_seed == {seed: [*seen(seed)] for seed in by_seed}
    assert any(False in each for each in by_seed.values())
    assert any(False in each[each.index(True) :] for each in by_seed.values())  # seen before
    assert all(all(each[4:]) for each in by_seed.values())
    aws.clear()
