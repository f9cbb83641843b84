"""The emulated AWS refuses what AWS's own models and guides say that it refuses."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from tests.support.aws.names import REGION
from tests.support.schemas import REFUSED, check_refused

FILTER = {"Name": "vpc-id", "Values": ["vpc-1"]}
TAGS = [{"ResourceType": "security-group", "Tags": [{"Key": "aws:x", "Value": "x"}]}]


@pytest.fixture
def send(aws):
    import boto3

    client = boto3.client("ec2", region_name=REGION, endpoint_url=aws.url)

    def send(action, **parameters):
        return getattr(client, action)(**parameters)

    return send


@pytest.mark.parametrize(
    ("action", "parameters", "problem"),
    [
        ("describe_route_tables", {"MaxResults": 500}, "MaxResults: 500: .* the most is 100"),
        ("describe_instances", {"MaxResults": 2000}, "MaxResults: 2000: .* the most is 1000"),
        ("describe_route_tables", {"Filters": [{**FILTER, "Name": "vpc"}]}, "Name: 'vpc': must m"),
        ("describe_vpcs", {"Filters": [{**FILTER, "Values": []}]}, r"Filters\[0\].Values: is requ"),
        ("describe_vpcs", {"Filters": [{**FILTER, "Values": ["v"] * 201}]}, "201 items, .* 200"),
        ("describe_vpcs", {"Filters": [FILTER] * 51}, "51 items, and the most is 50"),
        ("create_tags", {"Resources": ["i-1"] * 1001, "Tags": []}, "1001 items, .* 1000"),
        ("create_tags", {"Resources": [], "Tags": []}, "Resources: is required"),
        ("create_security_group", {"GroupName": "sg-1", "Description": "d"}, "GroupName: 'sg-1'"),
        ("create_security_group", {"GroupName": "g", "Description": "ü"}, "Description: 'ü': must"),
        ("create_security_group", {"GroupName": "g" * 256, "Description": "d"}, "256 characters"),
        (
            "create_security_group",
            {"GroupName": "g", "Description": "d", "TagSpecifications": TAGS},
            r"TagSpecifications\[0\].Tags\[0\].Key: 'aws:x': must match",
        ),
        (
            "run_instances",
            {"MinCount": 1, "MaxCount": 1, "InstanceInitiatedShutdownBehavior": "end"},
            "InstanceInitiatedShutdownBehavior: 'end': must be one of",
        ),
        (
            "run_instances",
            {"MinCount": 1, "MaxCount": 1, "ClientToken": "t" * 65},
            "65 characters, and the most is 64",
        ),
        (
            "run_instances",
            {"MinCount": 1, "MaxCount": 1, "MetadataOptions": {"HttpPutResponseHopLimit": 65}},
            "the most is 64",
        ),
    ],
)
def test_parameter_outside_the_model_is_refused(send, action, parameters, problem):
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        send(action, **parameters)
    assert any(re.search(problem, refused) for refused in REFUSED), REFUSED
    REFUSED.clear()


RULE = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1}
ONE = {"MinCount": 1, "MaxCount": 1}
CARD = {"DeviceIndex": 0, "AssociatePublicIpAddress": True}
TEMPLATE = {"LaunchTemplateSpecification": {"LaunchTemplateName": "name", "Version": "1"}}


def ingress(*blocks):
    return {"GroupId": "sg-1", "IpPermissions": [{**RULE, "IpRanges": [*blocks]}]}


def disk(**ebs):
    return {**ONE, "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": ebs}]}


def fleet(priority, **more):
    override = {"InstanceType": "m5.large", "SubnetId": "subnet-1", "Priority": priority}
    return {
        "Type": "instant",
        "LaunchTemplateConfigs": [{**TEMPLATE, "Overrides": [override]}],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": 1,
            "DefaultTargetCapacityType": "spot",
        },
        **more,
    }


@pytest.mark.parametrize(
    ("action", "parameters", "problem"),
    [
        ("authorize_security_group_ingress", ingress({"CidrIp": "192.0.2.7"}), "is malformed"),
        ("authorize_security_group_ingress", ingress({"CidrIp": "10.0.0.1/8"}), "is malformed"),
        ("revoke_security_group_ingress", ingress(*[{"CidrIp": "10.0.0.0/8"}] * 2), "multiple"),
        ("run_instances", {**ONE, "NetworkInterfaces": [CARD], "SubnetId": "s"}, "SubnetId belon"),
        (
            "run_instances",
            {**ONE, "NetworkInterfaces": [CARD, {"DeviceIndex": 1}]},
            "AssociatePublicIpAddress is for a single interface",
        ),
        ("run_instances", {"MinCount": 2, "MaxCount": 1}, "MinCount is more than MaxCount"),
        ("run_instances", disk(VolumeType="gp2", Iops=100), "gp2 has no Iops"),
        ("run_instances", disk(VolumeType="io2"), "io2 needs Iops"),
        ("run_instances", disk(VolumeType="gp3", VolumeSize=0), r"gp3 has \(1, 65536\) GiB, not 0"),
        ("run_instances", disk(KmsKeyId="alias/a"), "KmsKeyId without Encrypted"),
        (
            "run_instances",
            {
                **ONE,
                "InstanceMarketOptions": {
                    "MarketType": "spot",
                    "SpotOptions": {"InstanceInterruptionBehavior": "stop"},
                },
            },
            "a one-time spot request can't stop",
        ),
        (
            "create_launch_template",
            {"LaunchTemplateName": "name", "LaunchTemplateData": {"UserData": "AAAA" * 5462}},
            "user data is limited to 16384 bytes",
        ),
        ("create_fleet", fleet(1.0, ReplaceUnhealthyInstances=True), "Unhealthy.* that are mainta"),
        ("create_fleet", fleet(0.5), "a Priority is a whole number"),
        ("describe_instances", {"MaxResults": 5, "InstanceIds": ["i-1"]}, "MaxResults can't be"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(send, action, parameters, problem):
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        send(action, **parameters)
    assert any(re.search(problem, refused) for refused in REFUSED), REFUSED
    REFUSED.clear()


def test_request_of_any_process_is_checked(aws):
    """It is the emulated AWS that checks, so nothing need be installed where a request is made."""
    scope = f"Credential=made-up/20260101/{REGION}/ec2/aws4_request"
    request = urllib.request.Request(
        aws.url,
        data=b"Action=DescribeRouteTables&Version=2016-11-15&MaxResults=500&Surprise=1",
        headers={"Authorization": f"AWS4-HMAC-SHA256 {scope}"},
    )
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)
    with pytest.raises(AssertionError, match="DescribeRouteTables.Surprise: is unknown"):
        check_refused()
