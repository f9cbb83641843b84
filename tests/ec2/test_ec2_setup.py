"""Bad input is refused before anything is made: which option, what AWS said, what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import trio

import bigmachine as bm
from bigmachine.errors import StartError, UsageError
from bigmachine_ec2 import Ec2System
from bigmachine_ec2._image import default_image

from .aws import DEBIAN, UBUNTU
from .conftest import Kit

CREATES = (
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "CreateLaunchTemplate",
    "CreateFleet",
    "RunInstances",
)
REHEARSED = (
    "CreateSecurityGroup",
    "RunInstances",
    "RunInstances",
    "CreateLaunchTemplate",
    "CreateFleet",
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"market": "on-demand", "max_price": 0.1}, "max_price: is for spot instances"),
        ({"max_price": 0.0}, "max_price: must be more than 0"),
        ({"max_price": 0.001}, "max_price: must be more than 0.001"),
        ({"image": "ubuntu"}, "image: must be an AMI"),
        ({"disk": 0}, "disk: must be at least 1 GiB"),
        ({"instance_type": ""}, "instance_type: must name a type"),
        ({"subnets": ["us-east-1a"]}, "subnets: must be ids"),
        ({"security_groups": ["default"]}, "security_groups: must be ids"),
        ({"security_groups": ["sg-1"], "allow": ["10.0.0.0/8"]}, "allow: is for the session's own"),
        ({"allow": ["10.0.0.1/8"]}, "allow: must be IPv4 CIDR blocks: 10.0.0.1/8 has host bits"),
        ({"tags": ["team"]}, "tags: must be KEY=VALUE, not 'team'"),
        ({"tags": ["a=1", "a=2"]}, "tags: must not have a key twice"),
        ({"tags": ["aws:x=1"]}, "tags: must not set 'aws:x'"),
        ({"tags": ["Name=1"]}, "tags: must not set 'Name'"),
        ({"tags": ["bigmachine:session=1"]}, "tags: must not set 'bigmachine:session'"),
        ({"tags": [f"k{i}=" for i in range(41)]}, "tags: must be 40 at most"),
        ({"tags": ["k=" + "v" * 257]}, "tags: 'k': keys have 128"),
        ({"lifetime": 0.0}, "lifetime: must be more than 0 seconds"),
        ({"endpoint_url": "localhost:5000"}, "endpoint_url: must begin with http"),
    ],
)
def test_what_can_be_seen_to_be_wrong_is_refused_without_asking_aws(run, aws, options, message):
    async def test(kit):
        with pytest.raises(UsageError) as caught:
            await kit.setup()
        assert message in str(caught.value)
        assert not aws.asked

    run(test, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instance_type": ["c7i.large", "c7i.lrage"]}, "instance_type: c7i.lrage: EC2 has no"),
        ({"instance_type": "mac2.metal"}, "mac2.metal: machines run Linux on x86_64 or arm64"),
        ({"image": "ami-00000000000000bad"}, "image: ami-00000000000000bad does not exist"),
        ({"image": "/my/image"}, "image: there is no SSM parameter /my/image in us-east-1"),
        ({"disk": 14}, "needs 15 GiB, not 14"),
        ({"subnets": ["subnet-0bad"]}, "subnets: subnet-0bad: not in us-east-1"),
        ({"security_groups": ["sg-0bad"]}, "security_groups: sg-0bad: not in us-east-1"),
        ({"key_pair": "laptop"}, "key_pair: there is no 'laptop' in us-east-1"),
        ({"instance_type": "c7g.large", "image": UBUNTU.format("24.04", "amd64")}, "is for x86_64"),
    ],
)
def test_what_aws_does_not_have_is_refused_by_the_name_of_its_option(run, aws, options, message):
    async def test(kit):
        with pytest.raises(UsageError) as caught:
            await kit.setup()
        assert message in str(caught.value)

    run(test, **options)
    assert not any(aws.count(action) for action in CREATES)


def test_a_type_that_the_subnets_zones_lack_is_refused_with_those_that_have_it(run, aws):
    subnet = next(s for s in aws.ec2.describe_subnets() if s.availability_zone == "us-east-1e")

    async def test(kit):
        with pytest.raises(UsageError, match="c7i.large is not offered in us-east-1e, .* but in"):
            await kit.setup()

    run(test, subnets=[subnet.id])


def test_a_type_that_is_not_sold_on_the_market_is_refused(run, aws):
    async def test(kit):
        with pytest.raises(UsageError, match="market: u-6tb1.56xlarge is not sold as spot"):
            await kit.setup()

    run(test, instance_type="u-6tb1.56xlarge", market="spot")


def test_subnets_and_groups_must_be_in_one_vpc(run, aws):
    vpc = aws.ec2.create_vpc("10.9.0.0/16")
    subnet = aws.ec2.create_subnet(vpc.id, "10.9.0.0/24", "us-east-1a")
    group = aws.ec2.create_security_group("theirs", "theirs", vpc_id=vpc.id)
    default = next(s for s in aws.ec2.describe_subnets() if s.vpc_id != vpc.id)

    async def test(kit):
        with pytest.raises(UsageError, match=message):
            await kit.setup()

    try:
        message = "subnets: must be in one VPC"
        run(test, subnets=[subnet.id, default.id])
        message = f"security_groups: {group.id} is in {vpc.id}, and the subnets are in"
        run(test, subnets=[default.id], security_groups=[group.id])
    finally:
        aws.ec2.delete_security_group(group_id=group.id)
        aws.ec2.delete_subnet(subnet.id)
        aws.clear()
        del aws.ec2.vpcs[vpc.id]


def test_a_region_without_a_default_vpc_says_what_to_do(run, aws):
    vpc = aws.ec2.get_default_vpc()

    async def test(kit):
        with pytest.raises(UsageError, match="no default VPC in us-east-1.*create-default-vpc"):
            await kit.setup()

    vpc.is_default = "false"
    try:
        run(test)
    finally:
        vpc.is_default = "true"


def test_without_a_region_the_option_is_named(run, aws):
    async def test(kit):
        with pytest.raises(UsageError, match="region: neither the option nor.*AWS_DEFAULT_REGION"):
            await kit.setup()

    run(test, region="")


def test_the_region_is_that_of_the_aws_configuration(run, aws, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    async def test(kit):
        system = await kit.setup()
        assert system._api.region == "us-east-1"

    run(test, region="")


def test_without_credentials_it_says_where_to_get_them(run, aws, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    async def test(kit):
        with pytest.raises(StartError, match="no AWS credentials: run `aws configure`"):
            await kit.setup()

    run(test)


def test_a_profile_that_is_not_there_is_told(run, aws, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    async def test(kit):
        with pytest.raises(StartError, match=r"nobody.*could not be found"):
            await kit.setup()

    run(test)


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId", "SignatureDoesNotMatch"])
def test_credentials_that_aws_does_not_take_are_told_at_once(run, aws, code):
    async def test(kit):
        with pytest.raises(StartError, match=f"renew them .*AWS answered {code}: of yesterday"):
            await kit.setup()
        assert len(aws.asked) == 1

    aws.refuse("GetCallerIdentity", code, "of yesterday", status=403, times=9)
    run(test)


@pytest.mark.parametrize(
    "action",
    [
        "DescribeInstanceTypes",
        "DescribeInstanceTypeOfferings",
        "DescribeVpcs",
        "DescribeSubnets",
        "DescribeImages",
        "RunInstances",
        "CreateSecurityGroup",
        "CreateLaunchTemplate",
        "CreateFleet",
    ],
)
def test_a_missing_permission_is_named_with_who_lacks_it(run, aws, action):
    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.setup()
        text = str(caught.value)
        assert f"arn:aws:sts::123456789012:user/moto may not call ec2:{action}" in text
        assert "IAM policy" in text
        assert "Encoded" not in text

    message = "You are not authorized. Encoded authorization failure message: abcdef"
    aws.refuse(action, "UnauthorizedOperation", message, status=403, times=9)
    run(test)
    assert not any(aws.count(name) for name in CREATES)


def test_an_endpoint_that_is_not_there_is_soon_given_up(run, aws):
    async def test(kit):
        with pytest.raises(StartError, match="AWS can't be reached: is the region right"):
            await kit.setup()

    run(test, endpoint_url="http://127.0.0.1:9")


def test_an_answer_that_is_no_aws_is_told(run, aws):
    async def test(kit):
        with pytest.raises(StartError, match="ResponseParserError"):
            await kit.setup()

    aws._faults.clear()
    run(test, endpoint_url=aws.url + "/nowhere")


def test_setup_makes_nothing_and_may_be_called_again(run, aws):
    async def test(kit):
        await kit.setup()
        await kit.setup()
        assert aws.leftovers() == []
        assert not any(aws.count(action) for action in CREATES)
        rehearsed = [name for name, p in aws.asked if p.get("DryRun") == "true"]
        assert rehearsed == [*REHEARSED] * 2

    run(test)


def test_setup_cancelled_can_be_called_again(run, aws):
    async def test(kit):
        for deadline in (0.0, 0.02, 0.1, 0.2):
            with trio.move_on_after(deadline):
                await kit.setup()
        await kit.setup()

    run(test)


def test_machines_have_their_types_processors_where_all_agree(run, aws):
    async def test(kit):
        assert kit.system.maxprocs() is None
        assert (await kit.setup()).maxprocs() == expected

    expected = 4
    run(test, instance_type=["c7i.xlarge", "c6i.xlarge"])
    expected = None
    run(test, instance_type=["c7i.xlarge", "c6i.large"])


def test_the_default_type_is_the_newest_that_the_region_has(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        assert instance.details["instance_type"] == "m7i.large"

    run(test, instance_type=[])


@pytest.mark.parametrize(
    ("version", "parameter"),
    [
        ((3, 11), DEBIAN.format("12", "amd64")),
        ((3, 12), UBUNTU.format("24.04", "amd64")),
        ((3, 13), DEBIAN.format("13", "amd64")),
        ((3, 14), UBUNTU.format("26.04", "amd64")),
    ],
)
def test_the_default_image_has_the_drivers_python(version, parameter):
    assert default_image("x86_64", version) == parameter


def test_a_python_that_no_known_image_has_is_refused_before_anything_is_bought():
    with pytest.raises(UsageError, match=r"image: no Ubuntu or Debian .* has Python 3\.99"):
        default_image("x86_64", (3, 99))


def test_options_come_from_the_environment(aws, monkeypatch):
    monkeypatch.setenv("BIGMACHINE_EC2_INSTANCE_TYPE", "c7i.large, c6i.large")
    monkeypatch.setenv("BIGMACHINE_EC2_MAX_PRICE", "0.05")
    monkeypatch.setenv("BIGMACHINE_EC2_PUBLIC_ADDRESS", "no")
    session = bm.AsyncSession("ec2", tags=["team=ml"])
    options = session.system.options
    assert options.instance_types == ("c7i.large", "c6i.large")
    assert (options.max_price, options.public_address) == (0.05, False)
    assert options.own_tags == {"team": "ml"}


def test_importing_it_imports_no_sdk():
    program = (
        "import sys, bigmachine_ec2; bigmachine_ec2.Ec2System();"
        "print([m for m in ('boto3', 'botocore', 'httpx', 'trio') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    assert "boto" not in done.stdout


def test_what_travels_to_machines_is_the_options_alone(run, aws):
    import pickle

    async def test(kit):
        await kit.setup()
        there = pickle.loads(pickle.dumps(kit.system))
        assert isinstance(there, Ec2System)
        assert there.options == kit.options

    run(test)
    assert Kit(aws).system.name == "ec2"


def test_a_session_opens_and_closes_by_the_systems_name(aws):
    options = {"region": "us-east-1", "endpoint_url": aws.url, "allow": ["192.0.2.7/32"]}
    with bm.Session("ec2", **options) as session:
        assert session.machines == []
    assert aws.count("GetCallerIdentity") == 1
    with pytest.raises(UsageError, match="disk: must be at least 1 GiB"), bm.Session("ec2", disk=0):
        pass
