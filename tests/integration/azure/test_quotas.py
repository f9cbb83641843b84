"""Quotas are read if that is permitted; an offer of which they allow no machine is left out."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from bigmachine.errors import StartError
from tests.integration.azure.plans import plan, planning
from tests.support.azure.errors import ArmError

GPU = "Standard_NC4as_T4_v3"
FAMILY = "standardDSv5Family"
ADDRESSES = "IPv4StandardSkuPublicIpAddresses"

TOO_LOW = [
    (
        {FAMILY: 0},
        {"market": "on-demand"},
        "2 of Standard DSv5 Family vCPUs in westeurope are needed, and the limit is 0 (0 in use)",
    ),
    (
        {"cores": 1},
        {"market": "on-demand"},
        "2 of Total Regional vCPUs in westeurope are needed, and the limit is 1 (0 in use)",
    ),
    (
        {"lowPriorityCores": 1},
        {"market": "spot"},
        "2 of Total Regional Spot vCPUs in westeurope are needed, and the limit is 1",
    ),
    ({ADDRESSES: 0}, {}, "1 of Public IPv4 Addresses - Standard in westeurope are needed"),
    ({"StaticPublicIPAddresses": 0}, {}, "1 of Static Public IP Addresses in westeurope are"),
    ({"PublicIPAddresses": 0}, {}, "1 of Public IP Addresses in westeurope are needed"),
    (  # the family has spaces in one list, and not in the other
        {"Standard NCASv3_T4 Family": 3},
        {"vm_size": GPU, "market": "on-demand"},
        "4 of Standard NCASv3_T4 Family vCPUs in westeurope are needed, and the limit is 3",
    ),
]
ENOUGH = [
    ({FAMILY: 0, "cores": 0}, {"market": "spot"}, {"spot"}),  # spot has a quota of its own
    ({"lowPriorityCores": 0}, {}, {"on-demand"}),
    ({FAMILY: 0}, {}, {"spot"}),
    ({ADDRESSES: 0, "PublicIPAddresses": 0}, {"public_address": False}, {"spot", "on-demand"}),
    ({"cores": -1}, {}, {"spot", "on-demand"}),
]


def test_quota_that_allows_no_machine_is_an_error(run, arm):
    def edit(answer):
        for usage in answer["value"]:
            usage["name"]["value"] = usage["name"]["value"].replace(" ", "")
        return answer

    arm.edit("usage.list", edit)
    limits = {**arm.quotas.limits}

    async def test(planner):
        for lower, options, says in TOO_LOW:
            arm.quotas.limits = {**limits, **lower}
            said = await planner.refusal(StartError, **options)
            assert said.startswith("this subscription's quota does not allow a single Standard_")
            assert says in said, said
            assert "Request an increase (Quotas, in the Azure portal; free trials must be" in said

    planning(run, test)


def test_what_the_quota_allows_none_of_is_left_out_and_the_rest_is_bought(run, arm, monkeypatch):
    monkeypatch.setattr(
        "bigmachine.system.cloud._driver_address.source_address", lambda host: "10.77.0.77"
    )
    limits = {**arm.quotas.limits}

    async def test(planner):
        for lower, options, markets in ENOUGH:
            arm.quotas.limits = {**limits, **lower}
            made = await planner.plan(**options)
            assert {offer.market for offer in made.offers} == markets

    planning(run, test)


def test_new_subscription_without_quota_for_most_families_gets_what_it_may_have(run, arm):
    for name in arm.quotas.limits:
        if name.lower().startswith("standard") and "bsv2" not in name.lower():
            arm.quotas.limits[name] = 0
    arm.quotas.limits["lowPriorityCores"] = 0

    async def test(planner):
        [offer] = (await planner.plan(vm_size=())).offers
        assert str(offer) == "on-demand Standard_B2s_v2 (2 vCPUs, 8 GiB) in westeurope"
        arm.quotas.limits |= {"standardBsv2Family": 0, "standardBasv2Family": 10}
        [offer] = (await planner.plan(vm_size=())).offers
        assert offer.type_name == "Standard_B2as_v2"

    planning(run, test)


def test_constrained_size_needs_the_quota_of_its_parent(run, arm, monkeypatch):
    def edit(answer):
        for sku in answer["value"]:
            for each in sku["capabilities"]:
                if sku["name"] == "Standard_E4s_v5" and each["name"] == "vCPUsAvailable":
                    each["value"] = "2"
        return answer

    arm.edit("resource_skus.list", edit)
    arm.quotas.limits["standardESv5Family"] = 3
    made = plan(run, vm_size="Standard_E4s_v5")
    assert {(offer.market, offer.size.vcpus) for offer in made.offers} == {("spot", 2)}


@pytest.mark.long
def test_quota_that_other_resources_use_up_is_a_warning(run, arm, caplog):
    def edit(answer):
        for usage in answer["value"]:
            if usage["name"]["value"] == "cores":
                usage["currentValue"] = 99
        return answer

    arm.edit("usage.list", edit)

    async def test(planner):
        made = await planner.plan(market="on-demand")
        assert any("use this subscription's quota up just now: 2 of" in m for m in caplog.messages)
        caplog.clear()
        made = await planner.plan()  # spot VMs have room
        assert not caplog.messages
        made.quotas.warn(made.offers, count=50)
        assert not caplog.messages
        made.quotas.warn(made.offers, count=51)
        [line] = caplog.messages
        assert line.startswith("51 machines are more than the quota may allow: 102 of Total Regio")

    with caplog.at_level(logging.WARNING, "bigmachine.azure"):
        planning(run, test)


@pytest.mark.parametrize("method", ["usage.list", "usages.list"])
@pytest.mark.parametrize("code", ["AuthorizationFailed", "InternalListError"])
def test_quotas_that_cannot_be_read_are_unknown(run, arm, method, code):
    status = 403 if code == "AuthorizationFailed" else 400
    arm.refuse_always(method, ArmError(status, code, "The client 'me' does not …"))
    assert len(plan(run).offers) == 2


def test_size_of_an_unknown_family_counts_as_cores_alone(run, arm):
    arm.skus.sizes["Standard_D2s_v5"] = dataclasses.replace(
        arm.skus.sizes["Standard_D2s_v5"], family="standardNewFamily"
    )
    assert len(plan(run).offers) == 2
