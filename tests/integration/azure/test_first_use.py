"""What Azure refuses although nothing told it before: the error says why, and nothing is left."""

from __future__ import annotations

import pytest

from bigmachine.errors import BigmachineError, StartError, UsageError
from tests.support.azure.quotas import STUDENT

WRITE = "Microsoft.Compute/virtualMachines/write"
JOIN = "Microsoft.Network/virtualNetworks/subnets/join/action"
TERMS = "Microsoft.MarketplaceOrdering/offerTypes/publishers/offers/plans/agreements/read"


@pytest.fixture
def refused(arm, run, consistent):
    """Return the error of a start that is to fail, of which nothing may be left."""

    def refused(kind=StartError, count=1, **options):
        async def main(kit):
            with pytest.raises(kind) as caught:
                await kit.start(count)
            assert type(caught.value) is kind
            return str(caught.value)

        text = run(main, **{"allow_billing_leak": True, **options})
        assert arm.leftovers() == []
        assert arm.meter.rate == 0.0
        return text

    return refused


@pytest.mark.parametrize("action", [WRITE, pytest.param(JOIN, marks=pytest.mark.long)])
def test_missing_right_names_it_and_leaves_nothing(arm, refused, action):
    arm.access.denied = {action}
    assert f"lacks the permission {action} on /subscriptions/" in refused()
    # Once for each market: it may be that spot VMs alone are denied.
    assert arm.count("virtual_machines.create_or_update") == 2


def test_policy_that_can_not_be_listed_is_told_and_leaves_nothing(arm, refused):
    arm.policies.can_be_listed = False
    arm.policies.required_tags = ("team",)
    text = refused()
    assert "a policy of your organization forbids it: 'Require a tag on resources'" in text


@pytest.mark.long
def test_policy_of_what_a_vm_makes_is_told_late_and_leaves_nothing(arm, refused):
    arm.policies.can_be_listed = False
    arm.policies.forbids_public_addresses = True
    text = refused()
    assert "forbids it: 'Network interfaces should not have public IPs'. Comply" in text


@pytest.mark.long
def test_terms_that_could_not_be_read_are_told_with_the_command(arm, refused):
    arm.access.denied = {TERMS}
    text = refused(UsageError, image="resf:rockylinux-x86_64:9-base:latest")
    assert "the subscription has not accepted the terms of the image's publisher" in text


def test_spot_that_only_the_launch_refuses_is_bought_on_demand(arm, run, consistent, caplog):
    arm.vms.has_spot = False

    async def main(kit):
        await kit.start(2)
        assert [vm.is_spot for vm in arm.vms.all.values()] == [False, False]

    run(main, allow_billing_leak=True)
    assert "AzureSpotFeatureNotEnabledForSubscription" in caplog.text


def test_burstable_size_is_no_spot_vm_whatever_the_list_says(arm, run, consistent):
    async def main(kit):
        await kit.start()
        [vm] = arm.vms.all.values()
        assert not vm.is_spot

    run(main, allow_billing_leak=True, vm_size="Standard_B2s_v2")


@pytest.mark.long
def test_subscription_of_a_student_gets_what_its_quotas_allow(arm, run, consistent):
    arm.quotas.limits |= STUDENT

    async def main(kit):
        await kit.start(2)
        bought = {(vm.is_spot, vm.size.name) for vm in arm.vms.all.values()}
        # Spot VMs have a quota of their own, which is enough for one.
        assert bought == {(True, "Standard_D2s_v5"), (False, "Standard_B2s_v2")}

    run(main, allow_billing_leak=True, vm_size=["Standard_D2s_v5", "Standard_B2s_v2"])


@pytest.mark.long
def test_lock_keeps_vms_and_the_error_names_the_session(arm, run, consistent):
    async def main(kit):
        await kit.start()
        arm.access.locked.add("bigmachine-westeurope")
        with pytest.raises(BigmachineError) as caught:
            await kit.system.shutdown()
        assert "test-0123abcd" in str(caught.value)
        assert "ScopeLocked" in str(caught.value)
        arm.access.locked.clear()
        await kit.system.shutdown()

    run(main, allow_billing_leak=True)
