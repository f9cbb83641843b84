"""The IAM policy allows the plugin's calls, on bigmachine's resources, and nothing else."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from botocore.config import Config

from bigmachine.cli import main
from tests.integration.ec2.test_reap import Region
from tests.support.aws.names import REGION, TYPE
from tests.support.aws.policy import (
    FILE,
    NEEDS_NOTHING,
    ON_KEYS,
    ROLES,
    ROOT,
    SESSION,
    allowed,
    policy,
    why_refused,
)

POLICY = json.loads(FILE.read_text()) if FILE.exists() else policy(())
PAGE = ROOT / "docs/ec2.md"
MOST_CHARACTERS = 6144  # of a managed policy, but for white space: "IAM and AWS STS quotas"


@pytest.fixture
def key_pair(aws):
    aws.ec2.create_key_pair("laptop", "rsa", tags={})
    yield "laptop"
    aws.ec2.delete_key_pair("laptop")


def test_policy_matches_the_plugins_calls(run, aws, one_offer, key_pair):
    """Make the plugin call each of its actions once."""

    async def buy(kit):
        [instance] = await kit.start()
        await kit.system.console(instance)

    async def move(kit):  # to another address, where the driver is let in
        await buy(kit)
        access = kit.system.access
        access._driver.blocks = ("198.51.100.4/32",)
        await access.restore()

    async def leave(kit):
        await buy(kit)
        Region(aws).fill(kit.request.session, machines=0)  # which the end of the session frees

    group = next(iter(aws.groups_at_first))
    run(leave, instance_type=[TYPE, "c6i.large"])
    run(buy, key_pair=key_pair, security_groups=[group], market="spot")
    run(move, **one_offer)
    aws.placement_groups.add("close", "cluster")
    run(buy, placement_group="close", **one_offer)
    aws.ec2.spot_instance_requests.clear()
    assert policy(aws.calls.recent) == POLICY


def test_policy_allows_exactly_the_actions_in_the_source():
    sources = (ROOT / "plugins/ec2/src/bigmachine_ec2").rglob("*.py")
    named = {
        action.replace("service-quotas:", "servicequotas:")  # boto3's name, and policies'
        for source in sources
        for action in re.findall(r'"([a-z0-9-]+:[A-Z][A-Za-z]+)"', source.read_text())
    }
    assert named - NEEDS_NOTHING - ON_KEYS - {ROLES} == allowed(POLICY) - {ROLES}


def test_policy_allows_changes_of_tagged_resources_only():
    unlimited = {
        action
        for statement in POLICY["Statement"]
        if "Condition" not in statement
        for action in statement["Action"]
    }
    changing = {a for a in unlimited if not re.match(r"\w+:(Describe|Get)[A-Z]", a)}
    assert changing == {"ec2:CreateFleet", "ec2:CreateSecurityGroup", "ec2:RunInstances"}
    for statement in POLICY["Statement"]:
        if changing & {*statement["Action"]} and "Condition" not in statement:
            made = ("fleet/", "instance/", "volume/", "network-interface/", "request/")
            assert not [arn for arn in statement["Resource"] if arn.endswith(made)]
            assert all(arn.endswith("/*") for arn in statement["Resource"])


def test_policy_is_within_iams_size_limit():
    assert len(json.dumps(POLICY, separators=(",", ":"))) < MOST_CHARACTERS


def test_call_outside_the_policy_is_detected(aws):
    """Otherwise a call outside the policy would fail no test."""
    made = ("instance", "network-interface", "volume")
    untagged = [f"ec2:RunInstances: its {kind} has no tag {SESSION}" for kind in made]
    assert why_refused("ec2:RunInstances", {}) == untagged
    tags = {"ResourceId.1": "i-1", "Tag.1.Key": "Name", "Tag.1.Value": "x"}
    assert why_refused("ec2:CreateTags", tags) == ["ec2:CreateTags: of the tag Name"]
    ask(aws, user_agent_extra="")
    assert aws.calls.refused == []
    ask(aws, user_agent_extra="bigmachine")
    [why] = aws.calls.refused
    assert why.startswith("ec2:DescribeRegions: policy.json does not allow it")
    aws.calls.begin()


def ask(aws, **config) -> None:
    import boto3

    with contextlib.closing(
        boto3.client("ec2", region_name=REGION, endpoint_url=aws.url, config=Config(**config))
    ) as ec2:
        ec2.describe_regions()


def test_policy_can_separate_sessions_by_name(run, aws):
    """As the docs say, the policy must then allow two names."""

    async def test(kit):
        await kit.start()

    run(test, instance_type=[TYPE, "c6i.large"])
    run(test, market="on-demand")
    names = {"true": set(), "": set()}
    for _, parameters in aws.asked:
        for key, value in parameters.items():
            if value == SESSION and key.endswith(".Key"):
                name = parameters[key.removesuffix("Key") + "Value"]
                names[parameters.get("DryRun", "")].add(name)
    assert names == {"true": {"dry-run"}, "": {"test-0123abcd.bigmachine"}}


def test_ps_needs_only_what_the_docs_say(aws, monkeypatch):
    monkeypatch.setenv("BIGMACHINE_EC2_REGION", REGION)
    monkeypatch.setenv("BIGMACHINE_EC2_ENDPOINT_URL", aws.url)
    Region(aws).fill("a-0123abcd.bigmachine", machines=2)
    aws.instances()[-1].lifecycle = "spot"
    aws.calls.begin()
    assert main(["ps", "ec2"]) == 0
    aws.clear()
    aws.ec2.spot_instance_requests.clear()
    [shown] = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert json.loads(shown) == policy(aws.calls.recent)


def test_docs_explain_each_statement_of_the_policy():
    table = PAGE.read_text().partition("## Permissions")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `([A-Z]\w+)` \|", table, re.MULTILINE)
    assert explained == [statement["Sid"] for statement in POLICY["Statement"]]
