"""Instances have AWS's prices, and none is launched for more than the user allows."""

from __future__ import annotations

import logging

import pytest

from bigmachine.errors import StartError, UsageError
from bigmachine_ec2 import Ec2Options
from bigmachine_ec2.api._api import Api
from tests.support.aws.names import TYPE
from tests.support.aws.prices import ADDRESS, EXTRAS, ON_DEMAND, SPOT

CREATES = ("CreateSecurityGroup", "RunInstances", "AuthorizeSecurityGroupIngress")


def test_spot_price_includes_disk_and_address(run, aws):
    aws.prices.spot = {f"{TYPE} us-east-1a": 0.0331, f"{TYPE} us-east-1b": 0.5}

    async def test(kit):
        [instance] = await kit.start()
        assert instance.cost_per_hour == pytest.approx(0.0331 + EXTRAS)

    run(test, market="spot")


def test_on_demand_price_is_that_of_the_price_list(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        assert instance.cost_per_hour == pytest.approx(ON_DEMAND + EXTRAS)

    run(test, market="on-demand")


def test_price_is_that_of_the_launched_market_and_type(run, aws):
    aws.prices.on_demand["c6i.large"] = 0.085
    for zone in "abcdf":
        aws.capacity[f"spot {TYPE} us-east-1{zone}"] = int(zone == "a")
        aws.capacity[f"spot c6i.large us-east-1{zone}"] = 0
        aws.capacity[f"on-demand {TYPE} us-east-1{zone}"] = 0

    async def test(kit):
        first, second = await kit.start(2)
        assert first.cost_per_hour == pytest.approx(SPOT + EXTRAS)
        assert second.cost_per_hour == pytest.approx(0.085 + EXTRAS)

    run(test, instance_type=[TYPE, "c6i.large"])


def test_price_without_public_address_excludes_it(run, aws):
    async def test(kit):
        [instance] = await kit.start()
        assert instance.cost_per_hour == pytest.approx(SPOT + 2 * (EXTRAS - ADDRESS))

    run(test, public_address=False, disk=40, market="spot", allow=["10.0.0.0/8"])


def test_each_price_is_requested_once(run, aws):
    async def test(kit):
        await kit.setup()
        await kit.start(2)
        await kit.system.start(1, kit.request)
        [history] = aws.requests("DescribeSpotPriceHistory")
        assert "StartTime" in history  # else it is that of three months
        asked = [r["Filters"] for r in aws.requests("GetProducts") if "NextToken" not in r]
        assert len(asked) == 4  # two types, the disk, the address
        assert len(set(asked)) == 4

    run(test, instance_type=[TYPE, "c6i.large"])


def test_price_list_is_requested_in_its_own_region(run, aws):
    async def test(kit):
        api = Api(Ec2Options(region="eu-west-1", endpoint_url=aws.url))
        filters = [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": "eu-west-1"}]
        reply = await api.read("pricing:GetProducts", ServiceCode="AmazonEC2", Filters=filters)
        assert reply["PriceList"]
        await api.close()

    run(test)


@pytest.mark.usefixtures("consistent")
def test_prices_are_listed_for_other_sessions(run, aws):
    async def test(kit):
        await kit.start()
        other = kit.other()
        vms = [i for i in await other.system.instances() if i.details["kind"] == "instance"]
        assert [vm.cost_per_hour for vm in vms] == [pytest.approx(SPOT + EXTRAS)]
        await other.system.shutdown()

    run(test)


@pytest.mark.parametrize("action", ["DescribeSpotPriceHistory", "GetProducts"])
def test_without_price_permissions_machines_start_and_one_line_says_why(run, aws, caplog, action):
    aws.prices.denied.add(action)

    async def test(kit):
        with caplog.at_level(logging.INFO, "bigmachine.ec2"):
            [instance] = await kit.start()
        if action == "GetProducts":
            assert instance.cost_per_hour == pytest.approx(SPOT)
        else:
            assert instance.cost_per_hour is None
        [line] = [r.getMessage() for r in caplog.records if "prices" in r.getMessage()]
        assert f"may not call {'pricing' if action == 'GetProducts' else 'ec2'}:{action}" in line

    run(test)


def test_prices_that_a_cost_limit_needs_are_waited_for(run, aws, monkeypatch):
    monkeypatch.setattr("bigmachine_ec2.catalog._prices._TIMEOUT", 0.0)

    async def test(kit):
        await kit.setup()
        assert kit.system._prices.failure is None

    run(test, max_session_cost=1.0)


@pytest.mark.parametrize("action", ["ec2:DescribeSpotPriceHistory", "pricing:GetProducts"])
def test_cost_limit_without_price_permissions_is_refused(run, aws, action):
    aws.prices.denied.add(action.partition(":")[2])

    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.setup()
        assert "max_session_cost: the machines' prices are unknown" in str(caught.value)
        assert f"may not call {action}" in str(caught.value)

    run(test, max_session_cost=1.0)
    assert not any(aws.count(create) for create in CREATES)


def test_cost_limit_without_prices_in_dollars_is_refused(run, aws):
    aws.prices.currency = "CNY"

    async def test(kit):
        with pytest.raises(StartError, match="no price in US dollars for"):
            await kit.setup()

    run(test, max_session_cost=1.0)


def test_cost_limit_for_types_without_a_price_is_refused(run, aws):
    aws.prices.on_demand[TYPE] = 0

    async def test(kit):
        with pytest.raises(StartError, match=f"no price in US dollars for {TYPE}"):
            await kit.setup()

    run(test, max_session_cost=1.0, market="on-demand")


def test_cost_limit_of_zero_is_refused(run, aws):
    async def test(kit):
        with pytest.raises(UsageError, match="max_session_cost: must be more than 0"):
            await kit.setup()
        assert not aws.asked

    run(test, max_session_cost=0.0)


def test_machines_whose_first_minute_exceeds_the_budget_are_not_launched(run, aws):
    async def test(kit):
        await kit.setup()
        kit.request.remaining_budget = 9.5 * (SPOT + EXTRAS) / 60
        with pytest.raises(StartError, match=f"10 × {TYPE} spot cost .* nothing was launched"):
            await kit.system.start(10, kit.request)
        assert not any(aws.count(create) for create in CREATES)
        assert len(await kit.system.start(9, kit.request)) == 9

    run(test, max_session_cost=1.0)


def test_offers_over_budget_are_skipped(run, aws):
    aws.prices.spot = {f"{TYPE} us-east-1a": 0.3, f"{TYPE} us-east-1b": 0}

    async def test(kit):
        await kit.setup()
        kit.request.remaining_budget = 0.08 / 60
        [instance] = await kit.system.start(1, kit.request)
        assert instance.zone == "us-east-1c"

    run(test, max_session_cost=1.0)
