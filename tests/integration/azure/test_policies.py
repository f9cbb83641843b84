"""Policies that Azure has built in are asked for before anything is created."""

from __future__ import annotations

import pytest

from bigmachine.errors import UsageError
from tests.integration.azure.plans import plan, planning
from tests.support.azure.arm import LOCATION, SUBSCRIPTION

SIZE, OTHER = "Standard_D2s_v5", "Standard_D2as_v5"
_GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/bigmachine-{LOCATION}"


FORBIDDEN = [
    (
        {"allowed_locations": ("northeurope", "eastus")},
        {},
        "location: the policy 'Allowed locations' of your organization does not allow "
        "westeurope, but northeurope, eastus: pass one of these; or ask for an exemption",
    ),
    (
        {"allowed_locations": ("northeurope", "eastus"), "is_of_azure": True},
        {},
        "location: Azure does not allow westeurope to this subscription, but northeurope, eastus: "
        "pass one of these",
    ),
    (
        {"allowed_sizes": (OTHER,)},
        {"vm_size": [OTHER, SIZE]},
        f"vm_size: the policy 'Allowed sizes' of your organization does not allow {SIZE}: name "
        f"one of those that it allows ({OTHER})",
    ),
    (
        {"allowed_sizes": ("Standard_M128",)},
        {"vm_size": ()},
        "vm_size: the policy 'Allowed sizes' of your organization does not allow Standard_D2s",
    ),
    (
        {"required_tags": ("owner", "costcenter")},
        {"tags": ["Owner=me"]},
        "tags: the policy 'Require costcenter' of your organization wants a tag of all "
        "resources: pass tags=['costcenter=…']",
    ),
    (
        {"forbids_public_addresses": True},
        {},
        "public_address: the policy 'No public IPs' of your organization allows no public",
    ),
]


def test_what_a_policy_forbids_is_refused_with_its_name(run, arm):
    nothing = {name: getattr(arm.policies, name) for policies, *_ in FORBIDDEN for name in policies}

    async def test(planner):
        for policies, options, says in FORBIDDEN:
            vars(arm.policies).update({**nothing, **policies})
            said = await planner.refusal(UsageError, **options)
            assert said.startswith(says), said
        arm.policies.can_be_listed = False  # then Azure says it at the launch
        assert (await planner.plan()).offers

    planning(run, test)


def test_what_policies_allow_is_bought(run, arm, monkeypatch):
    inside = "bigmachine.system.cloud._driver_address.source_address"
    monkeypatch.setattr(inside, lambda host: "10.77.0.9")
    arm.policies.allowed_locations = ("West Europe",)
    arm.policies.allowed_sizes = (OTHER.upper(),)
    arm.policies.required_tags = ("owner",)
    arm.policies.forbids_public_addresses = True
    made = plan(run, vm_size=(), tags=["owner=me"], public_address=False)
    assert {offer.type_name for offer in made.offers} == {OTHER}


def test_address_that_is_no_allowed_type_of_resource_is_refused(run, arm):
    denied = {"Microsoft.Network/publicIPAddresses", "Microsoft.Network/vpnGateways"}
    assignment = {
        "displayName": "Deny-Public-IP",
        "policyDefinitionId": "/providers/Microsoft.Authorization/policyDefinitions/"
        "6c112d4e-5bc7-47ae-a041-ea2d9dccd749",
    }

    def edit(answer):
        value = {"listOfResourceTypesNotAllowed": {"value": sorted(denied)}}
        return {"value": [{"properties": {**assignment, "parameters": value}}]}

    arm.edit("policy_assignments.list", edit)

    async def test(planner):
        said = await planner.refusal(UsageError)
        assert said.startswith("public_address: the policy 'Deny-Public-IP' of your organization")
        denied.remove("Microsoft.Network/publicIPAddresses")
        assert (await planner.plan()).offers

    planning(run, test)


PASSED_OVER = [
    {"enforcementMode": "DoNotEnforce"},
    {"notScopes": ["/subscriptions/x", _GROUP]},
    {"notScopes": [f"/subscriptions/{SUBSCRIPTION}"]},
    {"parameters": {"effect": {"value": "Audit"}}},
    {"policyDefinitionId": "/providers/Microsoft.Authorization/policyDefinitions/other"},
]


def test_policy_that_denies_nothing_here_is_passed_over(run, arm):
    arm.policies.forbids_public_addresses = True
    changes = {}

    def edit(answer):
        for each in answer["value"]:
            each["properties"].update(changes)
        return answer

    arm.edit("policy_assignments.list", edit)

    async def test(planner):
        for properties in PASSED_OVER:
            changes.clear()
            changes.update(properties)
            assert (await planner.plan()).offers, properties

    planning(run, test)


@pytest.mark.long
def test_tag_with_its_value_and_place_of_a_new_group_are_asked_for(run, arm):
    definitions = "/providers/Microsoft.Authorization/policyDefinitions/"
    value = {
        "displayName": "Tag",
        "policyDefinitionId": f"{definitions}1e30110a-5ceb-460c-a204-c1c3969c6d62",
        "parameters": {"tagName": {"value": "env"}, "tagValue": {"value": "dev"}},
    }
    place = {
        "displayName": "Groups",
        "policyDefinitionId": f"{definitions}e765b5de-1225-4ba3-bd56-1ac6695af988",
        "parameters": {"listOfAllowedLocations": {"value": ["eastus"]}},
    }
    assigned = [value]
    arm.edit(
        "policy_assignments.list", lambda _: {"value": [{"properties": of} for of in assigned]}
    )

    async def test(planner):
        for tags in ([], ["env=prod"]):
            said = await planner.refusal(UsageError, tags=tags)
            assert said.startswith("tags: the policy 'Tag' of your organization wants a tag")
            assert "pass tags=['env=dev']" in said
        assert (await planner.plan(tags=["ENV=dev"])).offers
        assigned[:] = [place]
        assert (await planner.refusal(UsageError)).startswith("location: the policy 'Groups'")
        arm.groups.add(f"bigmachine-{LOCATION}")
        assert (await planner.plan()).offers

    planning(run, test)
