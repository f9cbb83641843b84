"""Bad input is refused before anything is created, with the option, AWS's error, and a remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trio

import bigmachine as bm
from bigmachine.errors import BigmachineError, StartError, UsageError
from bigmachine.system import driver_addresses
from bigmachine_ec2.api._api import Api
from tests.support.aws.fixtures import Kit
from tests.support.aws.names import UBUNTU
from tests.support.aws.refusals import PENDING

if TYPE_CHECKING:
    from tests.support.aws.aws import Aws

LINES = 6
"""How many lines of 80 columns a message has at most."""


@dataclass(frozen=True)
class Bad:
    """One kind of bad input, and what is said of it.

    In ``options`` and ``says``, words in braces stand for ids of the fixture `ids`. ``says`` are
    parts of the message: the option, if it is one's fault; what AWS answered, if it was asked;
    what to do next.
    """

    id: str
    says: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str | None] = field(default_factory=dict)
    arrange: Callable[[Aws], None] = lambda aws: None
    error: type[BigmachineError] = UsageError
    is_asked: bool = True  # of AWS


def refused(action: str, code: str, message: str) -> Callable[[Aws], None]:
    return lambda aws: aws.refuse(action, code, message, status=400, times=9)


def wrong_clock(aws: Aws) -> None:
    aws.ahead = 7200.0
    message = "Signature expired: 20250101T100000Z is now earlier than 20250101T114500Z"
    refused("GetCallerIdentity", "SignatureDoesNotMatch", message)(aws)


IS_INVALID = "The security token included in the request is invalid."
IS_EXPIRED = "The security token included in the request is expired"

CREDENTIALS = [
    Bad(
        "no credentials",
        ("there are no AWS credentials", "run `aws configure` or `aws sso login`"),
        environ={"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
        error=StartError,
        is_asked=False,
    ),
    Bad(
        "incomplete credentials",
        ("missing: AWS_SECRET_ACCESS_KEY", "`aws configure`"),
        environ={"AWS_SECRET_ACCESS_KEY": None},
        error=StartError,
        is_asked=False,
    ),
    Bad(
        "expired credentials",
        ("have expired: renew them", f"AWS answered ExpiredToken: {IS_EXPIRED}"),
        arrange=refused("GetCallerIdentity", "ExpiredToken", IS_EXPIRED),
        error=StartError,
    ),
    Bad(
        "credentials that expire between two requests",
        ("have expired: renew them", "AWS answered RequestExpired: Request has expired."),
        arrange=refused("DescribeVpcs", "RequestExpired", "Request has expired."),
        error=StartError,
    ),
    Bad(
        "unknown credentials",
        ("renew them (`aws configure`", f"AWS answered InvalidClientTokenId: {IS_INVALID}"),
        arrange=refused("GetCallerIdentity", "InvalidClientTokenId", IS_INVALID),
        error=StartError,
    ),
    Bad(
        "wrong clock",
        ("clock is 120 minutes behind AWS's", "AWS answered Signature", "set it right"),
        arrange=wrong_clock,
        error=StartError,
    ),
    Bad(
        "unverified account",
        ("AWS is still verifying the account for this region: wait", "PendingVerification: Your"),
        arrange=refused("DescribeVpcs", PENDING.code, PENDING.message),
        error=StartError,
    ),
    Bad(
        "unknown profile",
        ("AWS_PROFILE: ", "no profile 'dve'; did you mean 'dev'?", "It has dev, prod: set it"),
        environ={"AWS_PROFILE": "dve"},
        is_asked=False,
    ),
    Bad(
        "profile with expired single sign-on",
        ("not signed in to AWS: run `aws sso login --profile dev`", "boto3 says SSOTokenLoadError"),
        environ={"AWS_PROFILE": "dev", "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
        error=StartError,
        is_asked=False,
    ),
    Bad(
        "unknown profile in the option",
        ("aws_profile: ", "no profile 'dve'; did you mean 'dev'?", "It has dev, ", "or omit it"),
        {"aws_profile": "dve"},
        is_asked=False,
    ),
    Bad(
        "profile in the option with expired single sign-on",
        ("not signed in to AWS: run `aws sso login --profile dev`", "boto3 says SSOTokenLoadError"),
        {"aws_profile": "dev"},  # the keys of the environment are not used instead
        error=StartError,
        is_asked=False,
    ),
    Bad(
        "profile in the option without credentials",
        ("aws_profile: the profile 'prod' has no credentials", "`aws configure --profile prod`"),
        {"aws_profile": "prod"},
        error=StartError,
        is_asked=False,
    ),
    Bad(
        "profile in the option without a region",
        ("region: set neither by the option nor", "(profile 'prod'); pass one"),
        {"aws_profile": "prod", "region": ""},
        is_asked=False,
    ),
    Bad(
        "no permission",
        (
            "arn:aws:sts::123456789012:user/moto may not call ec2:DescribeVpcs",
            "add that action to its IAM policy",
            "AWS answered UnauthorizedOperation: You are not authorized.)",
        ),
        arrange=refused(
            "DescribeVpcs",
            "UnauthorizedOperation",
            "You are not authorized. Encoded authorization failure message: abcdef",
        ),
        error=StartError,
    ),
]

REGION = [
    Bad(
        "no region",
        (
            "region: set neither by the option nor",
            "pass one, like region='eu-central-1'",
            "AWS_REGION",
        ),
        {"region": ""},
        is_asked=False,
    ),
    Bad(
        "zone instead of region",
        ("region: must be a region, not a zone: 'us-east-1', not 'us-east-1a'",),
        {"region": "us-east-1a"},
        is_asked=False,
    ),
    Bad(
        "city instead of region",
        ("region: must be the name of a region, like 'eu-central-1', not 'Frankfurt'",),
        {"region": "Frankfurt"},
        is_asked=False,
    ),
    Bad(
        "misspelt region",
        (
            "region: AWS can't be reached in 'eu-centrl-1', and boto3 knows no such region",
            "did you mean 'eu-central-1'?",
            "`aws account list-regions`",
        ),
        {"region": "eu-centrl-1", "endpoint_url": ""},
        environ={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        is_asked=False,
    ),
    Bad(
        "no connection to AWS",
        ("AWS can't be reached in eu-central-1", "check the internet connection"),
        {"region": "eu-central-1", "endpoint_url": ""},
        environ={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        error=StartError,
        is_asked=False,
    ),
    Bad(
        "disabled region",
        (
            "region: AWS rejects the credentials in eu-south-2",
            "`aws account enable-region --region-name eu-south-2`",
            f"AWS answered InvalidClientTokenId: {IS_INVALID}",
        ),
        {"region": "eu-south-2"},
        arrange=refused("GetCallerIdentity", "InvalidClientTokenId", IS_INVALID),
        error=StartError,
    ),
    Bad(
        "unreachable endpoint",
        ("AWS can't be reached in us-east-1", "the region's name", "127.0.0.1:9"),
        {"endpoint_url": "http://127.0.0.1:9"},
        error=StartError,
        is_asked=False,
    ),
]

TYPES = [
    Bad(
        "unknown instance type",
        ("instance_type: c7i.lrage: EC2 has no such type in us-east-1", "`aws ec2 describe-inst"),
        {"instance_type": ["c7i.large", "c7i.lrage"]},
    ),
    Bad(
        "several types in one text",
        ("instance_type: must be one name each: pass instance_type=['c7i.large', 'm7i.large']",),
        {"instance_type": "c7i.large, m7i.large"},
        is_asked=False,
    ),
    Bad(
        "several subnets in one text",
        ("subnets: must be one name each: pass subnets=['subnet-0a', 'subnet-0b']",),
        {"subnets": ["subnet-0a,subnet-0b"]},
        is_asked=False,
    ),
    Bad(
        "type missing in all zones",
        (
            "instance_type: c7i.large is not offered in us-east-1e, where the subnets are",
            "but in us-east-1a, us-east-1b",
            "name a subnet there, or another type",
        ),
        {"subnets": ["{in_zone_e}"]},
    ),
    Bad(
        "type without local disks",
        (
            "local_disks: c7i.large, c3.large has no local NVMe disk: name types that have",
            "`aws ec2 describe-instance-types --filters Name=instance-storage-info.nvme-support,",
        ),
        {"local_disks": True, "instance_type": ["m5d.large", "c7i.large", "c3.large"]},
    ),
    Bad(
        "type not offered on the market",
        ("market: u-6tb1.56xlarge is not offered as spot, but as on-demand: choose another",),
        {"instance_type": "u-6tb1.56xlarge", "market": "spot"},
    ),
    Bad(
        "Mac instance type",
        (
            "instance_type: mac2.metal: machines run Linux on x86_64 or arm64",
            "that type is arm64_mac: name another",
        ),
        {"instance_type": "mac2.metal"},
    ),
    Bad(
        "quota of zero",
        (
            "quota does not allow a single c7i.large in us-east-1",
            "the name of L-34B43A08 (L-34B43A08): 0 vCPUs",
            "Request a quota increase (Service Quotas, Amazon EC2",
        ),
        {"market": "spot"},
        arrange=lambda aws: aws.quotas.update({"L-34B43A08": 0.0}),
        error=StartError,
    ),
]

MARKETS = [
    Bad(
        "contradictory market options",
        ("max_price: is for spot instances, but market is 'on-demand': omit one of them",),
        {"market": "on-demand", "max_price": 0.1},
        is_asked=False,
    ),
    Bad(
        "invalid price",
        ("max_price: must be more than 0.001 US dollars an hour",),
        {"max_price": 0.001},
        is_asked=False,
    ),
    Bad(
        "price below the market price",
        (
            "max_price: no spot instance costs $0.03 an hour or less now",
            "the cheapest is c7i.large in us-east-1b, for $0.035",
            "Raise max_price, name other types, or try again later",
        ),
        {"market": "spot", "max_price": 0.03},
        arrange=lambda aws: aws.prices.spot.update({"c7i.large us-east-1b": 0.035}),
        error=StartError,
    ),
]

IMAGES = [
    Bad(
        "no image",
        ("image: must be an AMI (ami-…) or an SSM parameter (/…), not 'ubuntu'",),
        {"image": "ubuntu"},
        is_asked=False,
    ),
    Bad(
        "image of another region",
        (
            "image: ami-00000000000000bad does not exist in us-east-1",
            "an AMI belongs to one region, and has another id in each",
            "pass one of this region, or omit it",
        ),
        {"image": "ami-00000000000000bad"},
    ),
    Bad(
        "unknown SSM parameter",
        ("image: there is no SSM parameter /my/image in us-east-1", "pass an AMI of the region"),
        {"image": "/my/image"},
    ),
    Bad(
        "image for another architecture",
        (
            "image: {amd64} (image {amd64_name}) is for x86_64, but c7g.large for arm64",
            "choose an image and types of one architecture",
        ),
        {"instance_type": "c7g.large", "image": UBUNTU.format("24.04", "amd64")},
    ),
    Bad(
        "image for Windows",
        ("image: {windows} (image ) is for windows, and machines run Linux", "or omit it"),
        {"image": "{windows}"},
    ),
    Bad(
        "image with unaccepted terms",
        (
            "image: AWS rejects it: follow AWS's answer, pass another one, or omit it",
            "AWS answered OptInRequired: In order to use this AWS Marketplace",
        ),
        arrange=refused(
            "RunInstances",
            "OptInRequired",
            "In order to use this AWS Marketplace product you need to accept terms and subscribe.",
        ),
    ),
    Bad(
        "disk too small for the image",
        ("disk: 14 GiB is too small for ami-", "set it to 15 or more"),
        {"disk": 14},
    ),
]

NETWORK = [
    Bad(
        "unknown subnet",
        ("subnets: subnet-0bad: not in us-east-1", "`aws ec2 describe-subnets --region us-east-1`"),
        {"subnets": ["subnet-0bad"]},
    ),
    Bad(
        "subnet given by zone",
        ("subnets: must be ids (subnet-…), not 'us-east-1a'",),
        {"subnets": ["us-east-1a"]},
        is_asked=False,
    ),
    Bad(
        "subnets in two VPCs",
        (
            "subnets: must be in one VPC: {other_subnet} is in {other_vpc}, {subnet} is in {vpc}",
            "name those of one",
        ),
        {"subnets": ["{other_subnet}", "{subnet}"]},
    ),
    Bad(
        "no default VPC",
        ("subnets: there is no default VPC in us-east-1: name subnets", "create-default-vpc"),
        arrange=lambda aws: setattr(aws.ec2.get_default_vpc(), "is_default", "false"),
    ),
    Bad(
        "unknown security group",
        ("security_groups: sg-0bad: not in us-east-1", "`aws ec2 describe-security-groups"),
        {"security_groups": ["sg-0bad"]},
    ),
    Bad(
        "security group of another VPC",
        (
            "security_groups: {other_group} is in {other_vpc}, but the subnets are in {vpc}",
            "name groups of that VPC, or none",
        ),
        {"subnets": ["{subnet}"], "security_groups": ["{other_group}"]},
    ),
    Bad(
        "allowed addresses and security groups together",
        ("allow: is for the session's own security group, but security_groups are given",),
        {"security_groups": ["sg-1"], "allow": ["10.0.0.0/8"]},
        is_asked=False,
    ),
    Bad(
        "invalid allowed address",
        ("allow: must be IPv4 CIDR blocks: 10.0.0.1/8 has host bits set",),
        {"allow": ["10.0.0.1/8"]},
        is_asked=False,
    ),
    Bad(
        "unknown key pair",
        ("key_pair: there is no 'laptop' in us-east-1", "`aws ec2 describe-key-pairs"),
        {"key_pair": "laptop"},
    ),
    Bad(
        "tags against an organization's policy",
        (
            "tags: a tag policy of the organization rejects them",
            "AWS answered TagPolicyViolation: The tag policy does not allow the value",
        ),
        arrange=refused(
            "RunInstances", "TagPolicyViolation", "The tag policy does not allow the value."
        ),
    ),
    Bad(
        "unknown instance profile",
        (
            "instance_profile: AWS rejects it; list all with `aws iam list-inst",
            "AWS answered InvalidParameterValue: Value (nobody)",
        ),
        {"instance_profile": "nobody"},
        arrange=refused(
            "RunInstances",
            "InvalidParameterValue",
            "Value (nobody) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance "
            "Profile name",
        ),
    ),
]

OTHERS = [
    Bad(id, (says,), options, is_asked=False)
    for id, says, options in [
        ("no type", "instance_type: must name a type", {"instance_type": ""}),
        ("no disk", "disk: must be at least 1 GiB", {"disk": 0}),
        ("invalid tag", "tags: must be KEY=VALUE, not 'team'", {"tags": ["team"]}),
        ("repeated tag key", "tags: must not have a key twice", {"tags": ["a=1", "a=2"]}),
        ("tag reserved by AWS", "tags: must not set 'aws:x'", {"tags": ["aws:x=1"]}),
        ("tag Name", "tags: must not set 'Name'", {"tags": ["Name=1"]}),
        (
            "tag reserved by bigmachine",
            "tags: must not set 'bigmachine:s'",
            {"tags": ["bigmachine:s=1"]},
        ),
        ("too many tags", "tags: must be at most 39", {"tags": [f"k{i}=" for i in range(40)]}),
        ("too long tag", "tags: 'k': keys have at most 128", {"tags": ["k=" + "v" * 257]}),
        ("short lifetime", "lifetime: must be at least 600 seconds", {"lifetime": 10.0}),
        (
            "immortal without lifetime",
            "immortal: needs lifetime, so that a forgotten instance ends: add lifetime=3600.0",
            {"immortal": True},
        ),
        (
            "keepalive without time for an answer",
            "keepalive_timeout: must leave time for one keepalive and its answer: at least 70 "
            "(keepalive_period 60 + rpc_timeout 10), not 65",
            {"keepalive_timeout": 65.0, "keepalive_period": 60.0, "rpc_timeout": 10.0},
        ),
        ("no URL", "endpoint_url: must begin with http", {"endpoint_url": "localhost:5000"}),
    ]
]


@pytest.fixture
def ids(aws):
    """Resources of the region, in its default VPC and in another one."""
    ec2 = aws.ec2
    subnets = {s.availability_zone: s.id for s in ec2.describe_subnets()}
    vpc = ec2.get_default_vpc()
    other = ec2.create_vpc("10.9.0.0/16")
    subnet = ec2.create_subnet(other.id, "10.9.0.0/24", "us-east-1a")
    group = ec2.create_security_group("theirs", "theirs", vpc_id=other.id)
    [amd64] = [i for i, a in ec2.amis.items() if a.name.endswith(UBUNTU.format("24.04", "amd64"))]
    windows = aws.add_image(platform="windows")
    yield {
        "vpc": vpc.id,
        "subnet": subnets["us-east-1a"],
        "in_zone_e": subnets["us-east-1e"],
        "other_vpc": other.id,
        "other_subnet": subnet.id,
        "other_group": group.id,
        "amd64": amd64,
        "amd64_name": UBUNTU.format("24.04", "amd64"),
        "windows": windows,
    }
    vpc.is_default = "true"
    del ec2.amis[windows]
    ec2.delete_security_group(group_id=group.id)
    ec2.delete_subnet(subnet.id)
    aws.clear()
    del ec2.vpcs[other.id]


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    """An AWS configuration with profiles, one of which is not signed on."""
    config = tmp_path / "config"
    config.write_text(
        "[profile dev]\n"
        "sso_start_url = https://example.com/never-signed-on\n"
        "sso_region = us-east-1\nsso_account_id = 123456789012\nsso_role_name = nobody\n"
        "[profile prod]\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))


@pytest.mark.parametrize(
    "bad",
    [*CREDENTIALS, *REGION, *TYPES, *MARKETS, *IMAGES, *NETWORK, *OTHERS],
    ids=lambda bad: bad.id,
)
def test_bad_input_is_refused_before_anything_is_created(run, aws, ids, profiles, monkeypatch, bad):
    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [*map(filled, value)]
        return value.format_map(ids) if isinstance(value, str) else value

    async def test(kit):
        with pytest.raises(bad.error) as caught:
            await kit.setup()
        text = str(caught.value)
        print(text)  # shown by `pytest -rP`
        for part in bad.says:
            assert filled(part) in text
        assert len(text) <= LINES * 80
        assert bool(aws.asked) == bad.is_asked

    for name, value in bad.environ.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    bad.arrange(aws)
    run(test, **{name: filled(value) for name, value in bad.options.items()})
    assert [*made(aws)] == []


def made(aws: Aws):
    """Yield all requested actions that change anything."""
    for action, parameters in aws.asked:
        is_rehearsal = parameters.get("DryRun") == "true"
        if not action.startswith(("Describe", "Get")) and not is_rehearsal:
            yield action


@pytest.mark.parametrize(
    "action",
    [
        "DescribeInstanceTypes",
        "DescribeInstanceTypeOfferings",
        "DescribeSubnets",
        "DescribeImages",
        "RunInstances",
        "CreateSecurityGroup",
        "CreateLaunchTemplate",
        "CreateFleet",
    ],
)
def test_missing_permission_error_names_action_and_identity(run, aws, action):
    async def test(kit):
        with pytest.raises(StartError, match=f"user/moto may not call ec2:{action}: add that"):
            await kit.setup()

    aws.refuse(action, "UnauthorizedOperation", status=403, times=9)
    run(test)
    assert [*made(aws)] == []


def test_oversized_user_data_is_refused_before_launch(run, aws, monkeypatch):
    async def test(kit):
        with pytest.raises(StartError, match="EC2's limit is 1000: this is a bug in bigmachine"):
            await kit.start()
        assert [*made(aws)] == []

    monkeypatch.setattr("bigmachine_ec2.guest._user_data._LIMIT", 1000)
    run(test)


def test_max_price_below_spot_prices_is_a_warning_if_on_demand_is_allowed(run, aws, caplog):
    async def test(kit):
        await kit.setup()
        assert "max_price: no spot instance costs $0.03 an hour or less now" in caplog.text
        assert "until prices fall, all instances are on-demand" in caplog.text

    run(test, max_price=0.03)


@pytest.mark.parametrize("prices", [{"c7i.large us-east-1b": 0.02}, {"c7i.large us-east-1b": 0}])
def test_max_price_passes_if_one_spot_price_is_lower_or_unknown(run, aws, caplog, prices):
    async def test(kit):
        await kit.setup()
        assert "max_price" not in caplog.text

    aws.prices.spot = prices
    run(test, max_price=0.03, market="spot")


def test_private_addresses_without_a_route_are_refused():
    nowhere = ("255.255.255.254/31",)  # where broadcasts go

    async def test():
        with pytest.raises(UsageError) as caught:
            await driver_addresses(nowhere, is_public=False, address_service_url="")
        text = str(caught.value)
        assert text.startswith(
            "public_address: this computer has no route to the network's private ad"
        )
        assert "use public ones, or set `allow` to the CIDR blocks" in text

    trio.run(test)


def test_region_unknown_to_boto3_but_reachable_is_accepted(aws, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    api = Api(Kit(aws, region="eu-central-9", endpoint_url="").options)

    async def test():
        assert await api.caller_arn()
        await api.close()

    trio.run(test)


def test_bare_metal_has_a_longer_boot_timeout(run, aws):
    async def test(kit):
        usual = kit.system.boot_timeout
        system = await kit.setup()
        assert system.boot_timeout > usual

    run(test, instance_type=["c7i.large", "c7i.metal-24xl"])


def test_bare_metal_needs_a_lifetime_longer_than_its_boot(run, aws):
    async def test(kit):
        with pytest.raises(UsageError, match="lifetime: must be at least 1800 seconds"):
            await kit.setup()

    run(test, instance_type="c7i.metal-24xl", lifetime=600.0)


def test_misspelt_option_suggests_the_right_one(aws):
    with pytest.raises(UsageError, match="no option 'instance_typ'; did you mean 'instance_type'"):
        bm.Session("ec2", instance_typ="c7i.large")
    assert not aws.asked


def test_response_not_from_aws_is_reported(run, aws):
    async def test(kit):
        with pytest.raises(StartError, match="in AWS's place.*boto3 says InvalidResponse"):
            await kit.setup()

    run(test, endpoint_url=aws.url + "/nowhere")
