"""The tests' Azure has identities, roles, policies and schedules as Azure has them."""

from __future__ import annotations

import json

import pytest

from tests.integration.azure.plain_requests import ask, vm_body
from tests.support.azure.entra import DRIVER

GROUP = "/subscriptions/55555555-5555-4555-8555-555555555555/resourceGroups/ours"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/bigmachine"
ROLE = "aaaaaaaa-0000-4000-8000-000000000001"
GRANT = "bbbbbbbb-0000-4000-8000-000000000002"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/m0"
"""Ids."""


@pytest.fixture
def place(arm):
    arm.groups.add("ours")
    yield arm.networks.add("net", group="ours")
    arm.roles.assignments.clear()
    arm.roles.definitions.clear()


def grant(arm, principal, *actions):
    """Make a custom role for the resource group, and give it to somebody."""
    authorization = f"{GROUP}/providers/Microsoft.Authorization"
    role = {
        "roleName": "bigmachine",
        "permissions": [{"actions": [*actions], "notActions": []}],
        "assignableScopes": [GROUP],
    }
    status, made = ask(arm, "PUT", f"{authorization}/roleDefinitions/{ROLE}", {"properties": role})
    assert status == 201
    assignment = {
        "roleDefinitionId": made["id"],
        "principalId": principal,
        "principalType": "ServicePrincipal",
    }
    path = f"{authorization}/roleAssignments/{GRANT}"
    return ask(arm, "PUT", path, {"properties": assignment})


def new_identity(arm):
    status, identity = ask(arm, "PUT", IDENTITY, {"location": "westeurope"})
    assert status == 201
    return identity


def create_vm(arm, place, **properties):
    status, answer = ask(arm, "PUT", VM, vm_body(place, **properties))
    assert status == 201, answer
    for _ in range(4):
        arm.advance(1)


def test_vm_deletes_itself_with_the_token_of_its_identity(arm, place, consistent):
    identity = new_identity(arm)
    create_vm(arm, place, identity=IDENTITY)
    status, token = arm.identities.token(arm.vms.by_name("m0"))
    assert (status, token["token_type"]) == (200, "Bearer")
    vm = arm.identities.principal(identity)
    status, refused = ask(arm, "DELETE", VM, user=vm)
    assert (status, refused["error"]["code"]) == (403, "AuthorizationFailed")
    parts = ("networkInterfaces", "publicIPAddresses")
    actions = [f"Microsoft.Network/{part}/delete" for part in parts]
    grant(arm, vm.id, "Microsoft.Compute/*/delete", *actions)
    assert ask(arm, "DELETE", VM, user=vm)[0] == 202
    arm.advance(1)
    assert arm.leftovers() == []


def test_parts_that_the_caller_may_not_delete_stay(arm, place, consistent):
    create_vm(arm, place)
    arm.access.denied.add("Microsoft.Network/networkInterfaces/delete")
    assert ask(arm, "DELETE", VM)[0] == 202
    arm.advance(1)
    assert [left.split()[0] for left in arm.leftovers()] == [
        "networkInterfaces",
        "publicIPAddresses",
    ]
    arm.access.denied.clear()
    [nic], [address] = arm.interfaces.all(), arm.addresses.all()
    ask(arm, "DELETE", nic["id"])
    arm.advance(1)
    ask(arm, "DELETE", address["id"])
    arm.advance(1)


def test_new_role_and_its_assignment_are_not_heeded_at_once(arm, place, consistent):
    vm = arm.identities.principal(new_identity(arm))
    arm.chance.of = lambda what, probability: what.startswith("a new role")
    _, answer = grant(arm, vm.id, "*/read")
    assert answer["error"]["code"] == "RoleDefinitionDoesNotExist"
    arm.advance(3)
    role = f"{GROUP}/providers/Microsoft.Authorization/roleDefinitions/{ROLE}"
    given = {"roleDefinitionId": role, "principalId": vm.id}
    path = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/{GRANT}"
    assert ask(arm, "PUT", path, {"properties": given})[0] == 201
    assert ask(arm, "GET", GROUP, user=vm)[0] == 403
    arm.advance(3)
    assert ask(arm, "GET", GROUP, user=vm)[0] == 200


def test_principal_that_is_new_needs_its_kind(arm, place, consistent):
    identity = new_identity(arm)
    reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
    role = f"/subscriptions/x/providers/Microsoft.Authorization/roleDefinitions/{reader}"
    given = {
        "roleDefinitionId": role,
        "principalId": identity["properties"]["principalId"],
    }
    path = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/{GRANT}"
    arm.chance.of = lambda what, probability: what == "a new principal"
    status, answer = ask(arm, "PUT", path, {"properties": given})
    assert (status, answer["error"]["code"]) == (400, "PrincipalNotFound")
    given["principalType"] = "ServicePrincipal"
    assert ask(arm, "PUT", path, {"properties": given})[0] == 201
    other = path.replace(GRANT, ROLE)
    status, answer = ask(arm, "PUT", other, {"properties": given})
    assert (status, answer["error"]["code"]) == (409, "RoleAssignmentExists")


def test_missing_action_is_named_and_linked_ones_are_told_apart(arm, place, consistent):
    arm.access.denied = {"Microsoft.Network/virtualNetworks/subnets/join/action"}
    status, answer = ask(arm, "PUT", VM, vm_body(place))
    assert (status, answer["error"]["code"]) == (403, "LinkedAuthorizationFailed")
    arm.access.denied = {"Microsoft.Compute/virtualMachines/write"}
    status, answer = ask(arm, "PUT", VM, vm_body(place))
    assert answer["error"]["code"] == "AuthorizationFailed"
    assert "'Microsoft.Compute/virtualMachines/write' over scope" in answer["error"]["message"]
    path = f"{GROUP}/providers/Microsoft.Authorization/permissions"
    _, page = ask(arm, "GET", path)
    assert page["value"][0]["notActions"] == ["Microsoft.Compute/virtualMachines/write"]


def test_policies_refuse_locations_sizes_tags_and_public_addresses(arm, place, consistent):
    arm.policies.allowed_locations = ("eastus",)
    status, answer = ask(arm, "PUT", VM, vm_body(place))
    assert (status, answer["error"]["code"]) == (403, "RequestDisallowedByPolicy")
    info = answer["error"]["additionalInfo"][0]["info"]
    assert info["policyDefinitionDisplayName"] == "Allowed locations"
    arm.policies.is_of_azure = True
    assert ask(arm, "PUT", VM, vm_body(place))[1]["error"]["code"] == "RequestDisallowedByAzure"
    arm.policies.allowed_locations = ()
    arm.policies.required_tags = ("team",)
    assert "policy" in ask(arm, "PUT", VM, vm_body(place))[1]["error"]["message"]
    arm.policies.required_tags = ()
    arm.policies.forbids_public_addresses = True
    create_vm(arm, place)
    vm = arm.vms.by_name("m0")
    assert (vm.state, vm.failure.code) == ("Failed", "RequestDisallowedByPolicy")
    ask(arm, "DELETE", VM)
    arm.advance(1)


def test_schedule_deallocates_its_vm_and_outlives_it(arm, place, consistent):
    create_vm(arm, place)
    path = f"{GROUP}/providers/Microsoft.DevTestLab/schedules/shutdown-computevm-m0"
    hour = arm.timeline.timestamp()[11:13]
    schedule = {
        "location": "westeurope",
        "properties": {
            "status": "Enabled",
            "taskType": "ComputeVmShutdownTask",
            "dailyRecurrence": {"time": f"{(int(hour) + 2) % 24:02}00"},
            "timeZoneId": "UTC",
            "targetResourceId": VM,
        },
    }
    status, _ = ask(arm, "PUT", path.replace("-m0", "-m1"), schedule)
    assert status == 400
    assert ask(arm, "PUT", path, schedule)[0] == 201
    assert "vm m0" in arm.meter.rates()
    arm.advance(3 * 3600)
    assert arm.schedules.fired == ["m0"]
    assert "vm m0" not in arm.meter.rates()
    ask(arm, "DELETE", VM)
    arm.advance(1)
    assert arm.leftovers() == ["schedules shutdown-computevm-m0"]
    assert ask(arm, "DELETE", path)[0] == 200


def test_locked_group_keeps_what_it_has(arm, place, consistent):
    create_vm(arm, place)
    arm.access.locked.add("ours")
    status, answer = ask(arm, "DELETE", VM)
    assert (status, answer["error"]["code"]) == (409, "ScopeLocked")
    arm.access.locked.clear()
    ask(arm, "DELETE", VM)
    arm.advance(1)


def test_retail_prices_need_no_token_and_have_pages(arm):
    arm.retail_prices.page_size = 3
    words = "serviceName eq 'Virtual Machines' and armSkuName eq 'Standard_D2s_v5'"
    words += " and armRegionName eq 'westeurope'"
    target, found = f"/api/retail/prices?$filter={words.replace(' ', '%20')}", []
    while target:
        status, page, _ = arm.respond("GET", target.removeprefix(arm.url), {}, b"")
        assert status == 200
        found += page["Items"]
        target = page["NextPageLink"]
    spot = [
        item["retailPrice"]
        for item in found
        if item["skuName"].endswith("Spot") and "Windows" not in item["productName"]
    ]
    assert spot == [0.023]


def test_driver_is_told_by_its_client_id(arm, place):
    arm.access.denied = {"Microsoft.Resources/subscriptions/resourceGroups/read"}
    _, answer = ask(arm, "GET", GROUP)
    assert f"The client '{DRIVER.client_id}'" in json.dumps(answer)
