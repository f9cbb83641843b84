"""Instances are launched into the placement group, which is checked beforehand."""

from __future__ import annotations

import pytest

from bigmachine.errors import UsageError


def one_zone(aws, zone="us-east-1a"):
    return [s.id for s in aws.ec2.describe_subnets() if s.availability_zone == zone]


@pytest.mark.parametrize("way", ["fleet", pytest.param("run", marks=pytest.mark.long)])
def test_instances_are_launched_into_the_placement_group(run, aws, way):
    async def test(kit):
        await kit.start()
        if way == "run":
            [request] = aws.requests("RunInstances")
            assert request["Placement.GroupName"] == "close"
        else:
            [request] = aws.requests("CreateLaunchTemplate")
            assert request["LaunchTemplateData.Placement.GroupName"] == "close"

    aws.placement_groups.add("close", "cluster")
    market = "on-demand" if way == "run" else "spot"
    run(test, placement_group="close", market=market, subnets=one_zone(aws))


@pytest.mark.parametrize(
    ("name", "strategy", "state", "options", "message"),
    [
        ("clsoe", "cluster", "available", {}, "there is no 'clsoe' in us-east-1; create it with"),
        ("close", "cluster", "deleting", {}, "'close' is deleting: name another one"),
        ("close", "cluster", "available", {}, "name the subnets of one zone .subnet-.* is in us-"),
        (
            *("close", "cluster", "available", {"instance_type": ["c7i.large", "t3.small"]}),
            "'close' has the strategy 'cluster', which t3.small does not support: name other types",
        ),
    ],
    ids=["unknown", "being deleted", "cluster in several zones", "type that does not support it"],
)
def test_unusable_placement_group_is_refused(run, aws, name, strategy, state, options, message):
    async def test(kit):
        with pytest.raises(UsageError, match=f"placement_group: .*{message}"):
            await kit.setup()

    aws.placement_groups.add("close", strategy, state=state)
    run(test, placement_group=name, **options)


def test_spread_placement_group_may_be_in_several_zones(run, aws):
    async def test(kit):
        await kit.setup()

    aws.placement_groups.add("apart", "spread")
    run(test, placement_group="apart")
