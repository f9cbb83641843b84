"""The subscription: its state, its kind, and the resource providers that it uses."""

from __future__ import annotations

import logging

import pytest

from bigmachine.errors import StartError, UsageError
from tests.integration.azure.plans import plan, planning, refusal
from tests.support.azure.arm import SUBSCRIPTION
from tests.support.azure.errors import ArmError


def test_disabled_subscription_is_an_error(run, arm):
    async def test(planner):
        arm.places.states[SUBSCRIPTION] = "Disabled"
        said = await planner.refusal(StartError)
        assert said.startswith(f'subscription: "bigmachine\'s tests" ({SUBSCRIPTION}) is disabled')
        arm.places.states[SUBSCRIPTION] = "Warned"
        assert (await planner.plan()).offers

    planning(run, test)


@pytest.mark.parametrize(
    "state", ["NotRegistered", pytest.param("Unregistering", marks=pytest.mark.long)]
)
def test_provider_that_is_not_registered_is_named_with_its_command(run, arm, state):
    arm.places.registrations["Microsoft.Compute"] = state
    arm.places.registrations["Microsoft.Network"] = state
    said = refusal(run, StartError)
    assert said == (
        "this subscription does not use Microsoft.Compute and Microsoft.Network yet: register it "
        "once, which takes a minute and is free (`az provider register --namespace "
        f"Microsoft.Compute --wait --subscription {SUBSCRIPTION}`, `az provider register "
        f"--namespace Microsoft.Network --wait --subscription {SUBSCRIPTION}`)"
    )
    assert not [call for call in arm.asked if call.verb != "GET"]


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        ("FreeTrial_2014-09-01", "a free trial"),
        ("DreamSpark_2015-02-01", "Azure for Students Starter"),
    ],
)
def test_subscription_without_spot_buys_on_demand(run, arm, caplog, quota, words):
    def edit(answer):
        return {**answer, "subscriptionPolicies": {"quotaId": quota}}

    arm.edit("subscriptions.get", edit)

    async def test(planner):
        made = await planner.plan()
        assert {offer.market for offer in made.offers} == {"on-demand"}
        [line] = [text for text in caplog.messages if words in text]
        assert line.startswith("all VMs are on-demand: this subscription is")
        said = await planner.refusal(StartError, market="spot")
        assert said.startswith(f"market: this subscription is {words}, which has no spot VMs: pass")

    with caplog.at_level(logging.INFO, "bigmachine.azure"):
        planning(run, test)


def test_student_may_try_spot_as_far_as_the_quota_allows(run, arm):
    def edit(answer):
        return {**answer, "subscriptionPolicies": {"quotaId": "AzureForStudents_2018-01-01"}}

    arm.edit("subscriptions.get", edit)

    async def test(planner):
        made = await planner.plan(market="spot")
        assert {offer.market for offer in made.offers} == {"spot"}
        arm.quotas.limits["lowPriorityCores"] = 0.0
        said = await planner.refusal(StartError, market="spot")
        assert "this subscription's quota does not allow a single" in said

    planning(run, test)


def test_what_a_role_on_the_resource_group_alone_may_not_read_is_left_out(run, arm):
    denied = ArmError(403, "AuthorizationFailed", "The client 'me' does not have authorization")
    for method in ("subscriptions.get", "providers.get", "subscriptions.list_locations"):
        arm.refuse_always(method, denied)
    assert plan(run).offers


def test_of_several_problems_the_subscriptions_is_told_first(run, arm):
    arm.places.registrations["Microsoft.Compute"] = "NotRegistered"
    arm.places.states[SUBSCRIPTION] = "Disabled"

    async def test(planner):
        assert (await planner.refusal(StartError, network="none")).startswith("subscription: ")
        arm.places.states.clear()
        said = await planner.refusal(StartError, network="none", vm_size="Standard_D0")
        assert "Microsoft.Compute yet" in said
        arm.places.registrations["Microsoft.Compute"] = "Registered"
        said = await planner.refusal(UsageError, network="none", vm_size="Standard_D0")
        assert said.startswith("network: there is no virtual network 'none' in the resource group")

    planning(run, test)
