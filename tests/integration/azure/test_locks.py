"""Under a lock nothing can be deleted, so nothing is purchased under one."""

from __future__ import annotations

import pytest

from bigmachine.errors import UsageError
from tests.integration.azure.plans import planning
from tests.support.azure.arm import SUBSCRIPTION
from tests.support.azure.errors import ArmError

ALL = f"/subscriptions/{SUBSCRIPTION}"
GROUP = f"{ALL}/resourceGroups/bigmachine-westeurope"


@pytest.mark.parametrize("scope", [ALL, pytest.param(GROUP, marks=pytest.mark.long)])
def test_lock_under_which_no_vm_can_be_deleted_is_an_error(run, arm, scope):
    async def test(planner):
        arm.locks.add(scope)
        said = await planner.refusal(UsageError)
        assert said.startswith(
            f"resource_group: bigmachine-westeurope has the lock 'lock-0' (CanNotDelete) on {scope}"
        )
        assert f"`az lock delete --ids {scope}/providers/Microsoft.Authorization/locks/" in said

    planning(run, test)


@pytest.mark.long
def test_lock_of_something_else_is_none_of_ours(run, arm):
    async def test(planner):
        arm.locks.add(f"{ALL}/resourceGroups/bigmachine-westeurope-other")
        arm.locks.add(f"{GROUP}/providers/Microsoft.Network/virtualNetworks/bigmachine")
        assert (await planner.plan()).offers
        denied = ArmError(403, "AuthorizationFailed", "… not have authorization to perform …")
        arm.locks.add(ALL)
        arm.refuse("management_locks.list_at_subscription_level", denied)
        assert (await planner.plan()).offers

    planning(run, test)
