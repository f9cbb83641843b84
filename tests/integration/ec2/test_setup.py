"""Setup of a session on EC2: its defaults and requests; it creates nothing."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest
import trio

import bigmachine as bm
from bigmachine.errors import StartError, UsageError
from bigmachine.rpc import dumps_whole
from bigmachine_ec2 import Ec2System
from bigmachine_ec2.catalog._images import default_image
from tests.support.aws.fixtures import Kit
from tests.support.aws.names import DEBIAN, UBUNTU
from tests.support.aws.refusals import FREE_TYPES, include_free, offer_less

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


def test_region_defaults_to_the_aws_configuration(run, aws, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    async def test(kit):
        system = await kit.setup()
        assert system._api.region == "us-east-1"

    run(test, region="")


def test_region_defaults_to_the_variable_of_other_sdks(run, aws, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    async def test(kit):
        await kit.system._api.open()
        assert kit.system._api.region == "us-east-1"

    run(test, region="")


def test_profile_gives_credentials_and_region_also_to_the_reaper(run, aws, monkeypatch, tmp_path):
    (tmp_path / "config").write_text(
        "[profile work]\nregion = us-east-1\n"
        "aws_access_key_id = of-work\naws_secret_access_key = secret-of-work\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    async def test(kit):
        await kit.setup()
        assert kit.system._api.region == "us-east-1"
        reaper = Ec2System(pickle.loads(dumps_whole(kit.system.options)))  # all that it is told
        assert not await reaper.instances()
        await reaper.shutdown()
        assert set(aws.access_keys) == {"of-work"}  # not the environment's
        assert "secret" not in repr(kit.system.options)

    run(test, region="", aws_profile="work")


def test_refused_role_of_a_profile_is_no_missing_permission(run, aws, monkeypatch, tmp_path):
    (tmp_path / "config").write_text(
        "[profile keys]\naws_access_key_id = a\naws_secret_access_key = b\n"
        "[profile role]\nsource_profile = keys\nrole_arn = arn:aws:iam::123456789012:role/x\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)  # for boto3's own request
    aws.refuse("AssumeRole", "AccessDenied", "not authorized", status=403, times=9)

    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.setup()
        assert "the AWS credentials of the profile 'role' can't be obtained" in str(caught.value)
        assert "AssumeRole: AccessDenied: not authorized" in str(caught.value)

    run(test, aws_profile="role")


def test_setup_creates_nothing_and_is_idempotent(run, aws):
    async def test(kit):
        await kit.setup()
        await kit.setup()
        assert aws.leftovers() == []
        assert not any(aws.count(action) for action in CREATES)
        rehearsed = [name for name, p in aws.asked if p.get("DryRun") == "true"]
        assert rehearsed == [*REHEARSED] * 2

    run(test)


def test_cancelled_setup_can_be_repeated(run, aws):
    async def test(kit):
        for deadline in (0.0, 0.02, 0.1, 0.2):
            with trio.move_on_after(deadline):
                await kit.setup()
        await kit.setup()

    run(test)


def test_maxprocs_is_known_if_all_types_agree(run, aws):
    async def test(kit):
        assert kit.system.maxprocs() is None
        assert (await kit.setup()).maxprocs() == expected

    expected = 4
    run(test, instance_type=["c7i.xlarge", "c6i.xlarge"])
    expected = None
    run(test, instance_type=["c7i.xlarge", "c6i.large"])


@pytest.mark.parametrize(
    ("free_types", "chosen"),
    [((), "m7i.large"), (("t2.micro",), "m7i.large"), (FREE_TYPES, "m7i-flex.large")],
    ids=["paid", "free tier of old accounts", "free plan"],
)
def test_default_type_is_the_newest_that_the_account_may_launch(run, aws, free_types, chosen):
    async def test(kit):
        system = await kit.setup()
        assert {offer.instance_type.name for offer in system._plan.offers} == {chosen}

    include_free(aws, free_types)
    run(test, instance_type=[])


@pytest.mark.parametrize(
    ("lacking", "chosen"),
    [(("m7i.large",), "m6i.large"), (("m7i.large", "m6i.large", "m5.large"), "t3.large")],
    ids=["newest", "all but t3"],
)
def test_default_type_is_one_that_the_subnets_zones_offer(run, aws, one_offer, lacking, chosen):
    async def test(kit):
        system = await kit.setup()
        assert {offer.instance_type.name for offer in system._plan.offers} == {chosen}

    offer_less(aws, lacking, zone="us-east-1a")
    run(test, instance_type=[], **one_offer)


def test_no_default_type_in_the_subnets_zones_is_refused(run, aws, one_offer):
    async def test(kit):
        with pytest.raises(UsageError) as caught:
            await kit.setup()
        text = str(caught.value)
        assert text.startswith("instance_type: no default type (m7i.large, m6i.large")
        assert "is offered in us-east-1a, where the subnets are: name a type" in text
        assert "--filters Name=location,Values=us-east-1a`" in text

    offer_less(aws, [f"{n}.large" for n in ("m7i", "m6i", "m5", "t3")], zone="us-east-1a")
    run(test, instance_type=[], **one_offer)


@pytest.mark.parametrize(
    ("version", "parameter"),
    [
        ((3, 11), DEBIAN.format("12", "amd64")),
        ((3, 12), UBUNTU.format("24.04", "amd64")),
        ((3, 13), DEBIAN.format("13", "amd64")),
        ((3, 14), UBUNTU.format("26.04", "amd64")),
    ],
)
def test_default_image_has_the_drivers_python(version, parameter):
    assert default_image("x86_64", version) == parameter


def test_deprecated_image_is_accepted_by_its_id(run, aws):
    image = aws.add_image()
    aws.deprecated_images.add(image)
    run(Kit.setup, image=image)


def test_python_without_a_known_image_is_refused():
    with pytest.raises(
        UsageError, match=r"image: no known release of Ubuntu or Debian has Python 3\.99"
    ):
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


def test_import_does_not_import_boto3():
    program = (
        "import sys, bigmachine_ec2; bigmachine_ec2.Ec2System();"
        "print([m for m in ('boto3', 'botocore', 'httpx', 'trio') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    assert "boto" not in done.stdout


def test_only_options_are_sent_to_machines(run, aws):
    import pickle

    async def test(kit):
        await kit.setup()
        there = pickle.loads(pickle.dumps(kit.system))
        assert isinstance(there, Ec2System)
        assert there.options == kit.options

    run(test)
    assert Kit(aws).system.name == "ec2"


def test_session_opens_by_the_systems_name(aws):
    options = {"region": "us-east-1", "endpoint_url": aws.url, "allow": ["192.0.2.7/32"]}
    with bm.Session("ec2", **options) as session:
        assert session.machines == []
    assert aws.count("GetCallerIdentity") == 1
    with pytest.raises(UsageError, match="disk: must be at least 1 GiB"), bm.Session("ec2", disk=0):
        pass
