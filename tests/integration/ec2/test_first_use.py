"""New and restricted accounts: what EC2 refuses them is avoided, or told with what to do."""

from __future__ import annotations

import pytest

from bigmachine.boot._bootstrap import boot_seconds
from bigmachine.errors import StartError, UsageError
from tests.support.aws.names import TYPE
from tests.support.aws.refusals import (
    BLOCKED,
    FREE_TYPE,
    NO_FLEET_ROLE,
    NO_SPOT_ROLE,
    ORGANIZATION,
    QUOTA,
    refuse_fleets,
    refuse_market,
    refuse_types,
)

ROLE = "`aws iam create-service-linked-role --aws-service-name spot.amazonaws.com`"
FREE = "m7i-flex.large"


def is_paid(instance_type: str) -> bool:
    return instance_type != FREE


# -- accounts on the free plan --------------------------------------------------------


def test_type_outside_the_free_plan_is_refused_with_one_inside_it(run, aws):
    async def test(kit):
        system = await kit.setup()  # a dry run may not notice
        with pytest.raises(UsageError) as caught:
            await system.start(2, kit.request)
        text = str(caught.value)
        assert text.startswith("instance_type: this account's free plan does not include it: pass")
        assert "instance_type='m7i-flex.large'" in text
        assert "--filters Name=free-tier-eligible,Values=true`" in text
        assert "AWS answered InvalidParameterCombination: The specified instance type" in text
        assert aws.count("CreateFleet") == 1  # it is the same on demand

    refuse_types(aws, FREE_TYPE, is_paid, dry_runs=False)
    run(test)


def test_type_inside_the_free_plan_is_launched_if_another_is_refused(run, aws, caplog):
    async def test(kit):
        [instance] = await kit.start()
        assert instance.details["instance_type"] == FREE
        assert f"this session goes on without {TYPE}: instance_type: this account" in caplog.text

    refuse_types(aws, FREE_TYPE, is_paid, dry_runs=True)
    run(test, instance_type=[TYPE, FREE])


# -- accounts without spot instances --------------------------------------------------


@pytest.mark.parametrize("dry_runs", [True, False], ids=["in the dry run", "at the launch"])
def test_without_the_role_for_spot_instances_are_on_demand(run, aws, caplog, dry_runs):
    async def test(kit):
        instances = await kit.start(2)
        assert {i.details["market"] for i in instances} == {"on-demand"}
        assert "the account has no service-linked role for spot instances" in caplog.text
        assert f"have an administrator run {ROLE} once" in caplog.text
        assert "fewer machines" not in caplog.text
        assert aws.count("CreateFleet") == (1 if dry_runs else 2)

    refuse_market(aws, "spot", NO_SPOT_ROLE, dry_runs=dry_runs)
    run(test)


@pytest.mark.parametrize("dry_runs", [True, False], ids=["in the dry run", "at the launch"])
def test_without_the_role_a_session_for_spot_alone_is_refused(run, aws, dry_runs):
    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.start()
        assert f"run {ROLE} once, or pass market='on-demand'" in str(caught.value)
        assert NO_SPOT_ROLE.message in str(caught.value)

    refuse_market(aws, "spot", NO_SPOT_ROLE, dry_runs=dry_runs)
    run(test, market="spot")


def test_spot_denied_by_an_organization_is_a_warning_if_on_demand_is_allowed(run, aws, caplog):
    async def test(kit):
        await kit.setup()
        [line] = [r.getMessage() for r in caplog.records if "goes on without" in r.getMessage()]
        assert line.startswith("this session goes on without spot instances: a service control")
        assert "ask its administrator" in line
        [instance] = await kit.system.start(1, kit.request)
        assert instance.details["market"] == "on-demand"
        assert aws.count("CreateFleet") == 1

    refuse_market(aws, "spot", ORGANIZATION, dry_runs=True)
    run(test)


def test_type_that_an_organization_allows_is_launched_if_it_denies_another(run, aws, caplog):
    async def test(kit):
        [instance] = await kit.start()
        assert instance.details["instance_type"] == FREE
        assert instance.details["market"] == "spot"
        lines = [r.getMessage() for r in caplog.records if "goes on without" in r.getMessage()]
        assert len(lines) == 1
        assert lines[0].startswith(f"this session goes on without {TYPE}: a service control policy")

    refuse_types(aws, ORGANIZATION, is_paid, dry_runs=True)
    run(test, instance_type=[TYPE, FREE])


def test_on_demand_denied_by_an_organization_is_an_error(run, aws):
    async def test(kit):
        with pytest.raises(StartError, match="a service control policy of the organization denies"):
            await kit.setup()

    refuse_market(aws, "on-demand", ORGANIZATION, dry_runs=True)
    run(test, market="on-demand")


# -- accounts without fleets ----------------------------------------------------------


def test_without_fleets_each_zone_and_market_is_tried_in_order(run, aws):
    async def test(kit):
        instances = await kit.start(3)
        assert [(i.details["market"], i.zone[-1]) for i in instances] == [
            ("spot", "c"),
            ("on-demand", "a"),
            ("on-demand", "a"),
        ]
        assert aws.count("CreateFleet") == 1
        assert aws.count("RunInstances") == 7  # twice in the zone that has one

    aws.capacity = {f"spot {TYPE} us-east-1{zone}": int(zone == "c") for zone in "abcdf"}
    refuse_fleets(aws)
    run(test)


def test_without_launch_templates_machines_are_launched_one_by_one(run, aws):
    async def test(kit):
        system = await kit.setup()
        assert len(await system.start(2, kit.request)) == 2
        assert aws.count("RunInstances") == 1

    aws.refuse("CreateLaunchTemplate", "MaxTemplateLimitExceeded", times=99)
    run(test)


def test_account_that_is_blocked_says_so_although_its_fleets_are_refused_first(run, aws):
    async def test(kit):
        system = await kit.setup()
        with pytest.raises(StartError) as caught:
            await system.start(1, kit.request)
        assert str(caught.value).startswith("AWS has blocked the account: sign in to its console")
        assert aws.count("RunInstances") == 1

    refuse_market(aws, "spot", BLOCKED, dry_runs=False)
    refuse_fleets(aws, NO_FLEET_ROLE)
    run(test)


# -- refusals that a session remembers ------------------------------------------------


def test_refused_market_and_fleets_are_not_requested_by_each_start(run, aws, monkeypatch):
    async def test(kit):
        await kit.start()
        for _ in range(2):
            aws.asked.clear()
            [instance] = await kit.system.start(1, kit.request)
            assert instance.details["market"] == "on-demand"
            assert aws.count("CreateFleet") == 0
            [request] = aws.requests("RunInstances")
            assert "InstanceMarketOptions.MarketType" not in request
        monkeypatch.setattr("bigmachine.cloud.launch._scope._REMEMBERED_SECONDS", 0.0)
        aws.asked.clear()
        await kit.system.start(1, kit.request)
        assert aws.count("CreateFleet") == 1
        assert "InstanceMarketOptions.MarketType" in aws.requests("RunInstances")[0]

    refuse_market(aws, "spot", NO_SPOT_ROLE, dry_runs=False)
    refuse_fleets(aws)
    run(test)


def test_refusal_is_requested_again_if_nothing_else_is_left(run, aws):
    async def test(kit):
        await kit.setup()
        with pytest.raises(StartError, match="no service-linked role"):
            await kit.system.start(1, kit.request)
        aws.refuse_pool = lambda place, count: None  # an administrator has created it
        assert len(await kit.system.start(1, kit.request)) == 1

    refuse_market(aws, "spot", NO_SPOT_ROLE, dry_runs=False)
    run(test, market="spot")


def test_missing_capacity_and_quota_are_not_remembered(run, aws):
    async def test(kit):
        [first] = await kit.start()
        assert first.details["market"] == "on-demand"
        aws.refuse_pool = lambda place, count: None
        [second] = await kit.system.start(1, kit.request)
        assert second.details["market"] == "spot"

    refuse_market(aws, "spot", QUOTA, dry_runs=False)
    run(test)


# -- bare metal -----------------------------------------------------------------------


def test_boot_credential_of_bare_metal_outlives_launch_and_boot(run, aws):
    async def test(kit):
        system = await kit.setup()
        # What a session gives the request for its credential.
        assert boot_seconds(system) > system.start_timeout + system.boot_timeout
        assert system.boot_timeout >= 1800.0

    run(test, instance_type="c7i.metal-24xl")
