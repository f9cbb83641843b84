"""Machines can delete their VMs, or the user is told what it costs that they can't."""

from __future__ import annotations

import base64
import gzip
import logging

import pytest

from bigmachine.errors import StartError, UsageError
from bigmachine_azure.api._place import find_place
from bigmachine_azure.plan._identity import DELETE_VM, find_identity
from bigmachine_azure.plan._roles import grants
from tests.support.azure.arm import LOCATION, SUBSCRIPTION
from tests.support.azure.errors import ArmError
from tests.support.azure.fixtures import Kit, own_identity

NAME = "bigmachine-westeurope"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{NAME}"


@pytest.fixture
def found(arm, use):
    """Return the ID of the identity that machines get, by the options."""

    def found(**options):
        async def test(api):
            o = Kit(arm, **options).options
            return await find_identity(api, o, await find_place(api, o))

        return use(test, **options)

    return found


@pytest.fixture
def own(arm):
    """An identity with the name of bigmachine's in its resource group, without a role."""
    arm.groups.add(NAME, location=LOCATION)
    return arm.identities.add("bigmachine", group=NAME)


def grant(arm, identity, *actions, scope=GROUP):
    arm.roles.grant(identity["properties"]["principalId"], actions, scope=scope)


def test_identity_of_the_options_is_used_by_its_id_or_name(arm, found, own):
    id = own_identity(arm)
    assert found(identity=id).lower() == id.lower()
    grant(arm, own, DELETE_VM)
    assert found(identity="bigmachine") == own["id"]
    assert found(identity="") == own["id"]


def test_there_may_be_none_and_no_resource_group_either(arm, found):
    assert found(identity="") == ""


def test_identity_that_does_not_exist_is_refused(arm, found):
    with pytest.raises(UsageError, match="identity: there is no '.*/mine': correct it, or omit"):
        found(identity="mine")


@pytest.mark.parametrize(
    ("actions", "scope", "is_enough"),
    [
        (("Microsoft.Compute/*/delete",), GROUP.upper(), True),
        (("*",), f"/subscriptions/{SUBSCRIPTION}", True),
        (("*/read",), GROUP, False),
        (("*",), f"{GROUP}-other", False),
        (("*",), f"{GROUP}/providers/Microsoft.Compute/virtualMachines/x", False),
    ],
)
def test_identity_must_have_a_role_that_deletes_vms(arm, found, own, actions, scope, is_enough):
    grant(arm, own, *actions, scope=scope)
    if is_enough:
        assert found(identity="") == own["id"]
        return
    with pytest.raises(StartError, match="'bigmachine' may not delete VMs of the resource group"):
        found(identity="")


def test_what_the_caller_may_not_know_of_roles_is_no_obstacle(arm, found, own):
    arm.access.denied.add("Microsoft.Authorization/roleAssignments/read")
    assert found(identity="") == own["id"]


def test_role_excludes_what_it_says():
    role = {"actions": ["*"], "notActions": ["Microsoft.Compute/*/DELETE"]}
    assert not grants([role], DELETE_VM)
    assert grants([role], "Microsoft.Compute/virtualMachines/read")
    assert not grants([{"actions": None}], DELETE_VM)


def test_session_without_identity_is_refused_with_its_price_and_the_remedy(arm, run):
    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.setup()
        return str(caught.value)

    text = run(test, identity="", subscription=SUBSCRIPTION)
    assert "whose driver is dead can only power its VM off, which Azure bills like one that" in text
    given = f"-o subscription={SUBSCRIPTION} -o location={LOCATION}"
    assert f"Run `bigmachine azure setup {given}` once" in text
    assert "allow_billing_leak=True" in text
    assert {call.verb for call in arm.asked} == {"GET"}


def test_leak_that_is_allowed_is_told(arm, run, caplog):
    async def test(kit):
        await kit.setup()

    run(test, identity="", allow_billing_leak=True)
    [record] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "without a managed identity, a machine whose driver is dead" in record.message
    assert "as by `bigmachine reap azure`" in record.message


def test_vm_gets_the_identity_and_the_program_that_uses_it(arm, run):
    async def test(kit):
        await kit.start()
        [vm] = arm.vms.all.values()
        [call] = arm.calls("virtual_machines.create_or_update")
        data = call.body["properties"]["osProfile"]["customData"]
        return vm.document, gzip.decompress(base64.b64decode(data)).decode()

    document, program = run(test)
    assert [*document["identity"]["userAssignedIdentities"]] == [own_identity(arm)]
    assert own_identity(arm) in program


def test_unregistered_provider_of_identities_is_the_same_as_none(arm, found):
    error = ArmError(409, "MissingSubscriptionRegistration", "Not 'Microsoft.ManagedIdentity'.")
    arm.refuse("user_assigned_identities.get", error)
    assert found(identity="") == ""
