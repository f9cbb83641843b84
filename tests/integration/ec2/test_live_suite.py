"""Tests on a real account run only on request, and find and free their leftovers."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import secrets

import pytest

from bigmachine.boot import Driver
from bigmachine_ec2 import Ec2Options, Ec2System
from bigmachine_ec2.options._tags import DRIVER, SESSION, tag_specifications
from tests.integration.ec2.test_reap import Region
from tests.live import __main__ as script
from tests.live.account import RUN
from tests.live.ec2 import Account
from tests.live.suite import LiveSuite
from tests.support.aws.names import REGION, TYPE
from tests.support.live import run, with_options
from tests.support.paths import ROOT

LEAKED = "leaked-0123abcd.bigmachine"
CHANGES = ("Create", "Run", "Terminate", "Delete", "Cancel", "Authorize")
SUITE = "tests/live/ec2.py"


@pytest.fixture
def options(aws):
    """The script's ``-o``, for the emulated account."""
    texts = (f"region={REGION}", f"endpoint_url={aws.url}", f"instance_type={TYPE}")
    return [*texts, "allow=192.0.2.7/32"]


@pytest.fixture
def account(aws, monkeypatch):
    for key, value in (("REGION", REGION), ("ENDPOINT_URL", aws.url)):
        monkeypatch.setenv(f"BIGMACHINE_EC2_{key}", value)
    system = Ec2System(Ec2Options(region=REGION, endpoint_url=aws.url))
    account = Account(system, network=aws.ec2.get_default_vpc().id, run="r1")
    yield account
    account.close()
    aws.ec2.spot_instance_requests.clear()
    aws.clear()


@pytest.fixture
def ec2(aws):
    import boto3

    with contextlib.closing(
        boto3.client("ec2", region_name=REGION, endpoint_url=aws.url)
    ) as client:
        yield client


def changes(aws) -> list[str]:
    """Return the requested actions that change anything, without dry runs."""
    return [name for name, p in aws.asked if name.startswith(CHANGES) and p.get("DryRun") != "true"]


# -- only on request --------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["tests/live"],
        pytest.param([SUITE], marks=pytest.mark.long),
        [SUITE, "--conformance-tier=live", "--conformance-max-cost=1"],
    ],
    ids=["folder", "file", "live"],
)
def test_pytest_alone_sends_no_request_to_an_account(aws, arguments):
    status, said = run(
        "pytest", "-q", "-n0", "-pno:cacheprovider", *arguments, AWS_ENDPOINT_URL=aws.url
    )
    assert aws.asked == []
    assert " passed" not in said
    assert status == (5 if arguments == ["tests/live"] else 0)


@pytest.mark.parametrize("sure", [pytest.param("", marks=pytest.mark.long), "yes"])
def test_script_shows_the_account_and_starts_nothing_without_yes(aws, options, sure):
    status, said = run("tests.live", "ec2", *with_options(options), BIGMACHINE_TEST_CLOUD=sure)
    assert status == 2
    assert "account   123456789012, as arn:aws:" in said
    assert f"region    {REGION}, " in said
    assert f"machines  {TYPE}, spot-then-on-demand: $0.107 an hour at most" in said
    assert "that might raise it to $2.00" in said
    [tests] = re.findall(r"^tests     (\d+) start machines", said, re.MULTILINE)
    assert f"{tests} tests start" in (ROOT / "docs/ec2.md").read_text().replace("\n", " ")
    assert "give --yes" in said
    assert changes(aws) == []


def test_script_reports_problems_before_it_begins(aws, options):
    aws.refuse("GetCallerIdentity", "ExpiredToken")
    status, said = run("tests.live", "ec2", "--yes", *with_options(options))
    assert status == 2
    assert re.search("nothing was started: .*credentials", said)
    assert changes(aws) == []


@pytest.mark.long
def test_offline_part_passes_and_leaves_nothing(aws, options):
    status, said = run("tests.live", "ec2", "--offline", *with_options(options))
    assert status == 0, said
    assert " passed" in said
    assert " failed" not in said.splitlines()[-2]
    assert said.endswith("The run left nothing.\n")


# -- leftovers --------------------------------------------------------------------------


def test_new_resources_are_seen_tagged_or_not(account, aws):
    before = account.resources()
    Region(aws).fill(None)
    Region(aws).fill(LEAKED, machines=0)
    new = {id: one for id, one in account.resources().items() if id not in before}
    kinds = sorted(id.partition("-")[0] for id in new)
    assert kinds == ["i", "i", "lt", "lt", "sg", "sg", "sir", "sir", "vol", "vol", "vol", "vol"]
    assert {one.session for one in new.values()} == {"", LEAKED}


def test_deleted_resources_are_not_seen(account, aws):
    before = account.resources()
    Region(aws).fill(LEAKED)
    for vm in aws.instances():
        aws.interrupt(vm.id)
    new = {*account.resources()} - {*before}
    assert "i" not in {id.partition("-")[0] for id in new}


@pytest.mark.usefixtures("consistent")
def test_leftovers_of_the_run_are_freed_and_untagged_ones_are_reported(
    account, aws, ec2, capsys, monkeypatch
):
    monkeypatch.setattr(script, "_DELETION_SECONDS", 0.0)
    before = account.resources()
    tags = {RUN: "r1", SESSION: LEAKED}
    ours = [make_volume(ec2, tags), make_volume(ec2, tags)]
    others = [
        make_volume(ec2, {}),
        make_volume(ec2, {SESSION: "other-89abcdef.bigmachine"}),
        make_volume(ec2, {RUN: "r0", SESSION: "earlier-89abcdef.bigmachine"}),
    ]
    group = account.make_foreign()
    texts = {"region": REGION, "endpoint_url": aws.url}
    assert script.free_leftovers(account, before, texts) == 3
    said = capsys.readouterr().out
    assert {*account.resources()} - {*before} == {*others}
    assert all(id in said.partition("STILL THERE")[0] for id in (*ours, group))
    assert all(id in said.partition("STILL THERE")[2] for id in others)
    assert aws.calls.refused == [
        f"ec2:CreateSecurityGroup: its security-group has no tag {SESSION}"
    ]
    aws.calls.begin()


def test_free_leftovers_of_killed_drivers_are_freed_and_no_failure(
    account, ec2, capsys, monkeypatch
):
    monkeypatch.setattr(LiveSuite, "account", account)
    before = account.resources()
    living = Driver.here()
    dead = dataclasses.replace(living, started=1)
    tags = {RUN: "r1", SESSION: LEAKED, DRIVER: str(dead)}
    group = make_group(ec2, tags)
    assert {*LiveSuite().leftovers()} == {*before}
    volume = make_volume(ec2, tags)
    other = make_group(ec2, {**tags, DRIVER: str(living)})
    assert {*LiveSuite().leftovers()} - {*before} == {volume, other}
    ec2.delete_volume(VolumeId=volume)
    ec2.delete_security_group(GroupId=other)
    assert script.free_leftovers(account, before, {}) == 0
    assert account.resources() == before
    assert f"{group} is freed" in capsys.readouterr().out


def test_no_leftovers_is_reported(account, aws, capsys):
    Region(aws).fill(LEAKED)
    assert script.free_leftovers(account, account.resources(), {}) == 0
    assert capsys.readouterr().out == "The run left nothing.\n"


def test_foreign_resource_is_created_and_deleted(account, aws, monkeypatch):
    monkeypatch.setattr(LiveSuite, "account", account)
    with LiveSuite().foreign_resource() as lives:
        assert lives()
        assert script.sessions_of(account.resources(), run="r1") == set()
    assert not lives()
    aws.calls.begin()  # it takes more than the policy, as the docs say


def test_without_permission_there_is_no_foreign_resource(account, aws, monkeypatch):
    monkeypatch.setattr(LiveSuite, "account", account)
    aws.refuse("CreateSecurityGroup", "UnauthorizedOperation", status=403)
    with LiveSuite().foreign_resource() as lives:
        assert lives is None
    aws.calls.begin()


def make_volume(ec2, tags) -> str:
    given = {"TagSpecifications": tag_specifications(tags, "volume")} if tags else {}
    return ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, **given)["VolumeId"]


def make_group(ec2, tags) -> str:
    return ec2.create_security_group(
        GroupName=secrets.token_hex(4),
        Description="a group",
        TagSpecifications=tag_specifications(tags, "security-group"),
    )["GroupId"]
