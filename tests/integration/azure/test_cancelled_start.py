"""A start that is cancelled leaves nothing that costs, and nothing for which the end waits."""

from __future__ import annotations

import pytest
import trio

from tests.support.azure.errors import ArmError
from tests.support.emulation.faults import FOREVER

CREATE, DELETE = "virtual_machines.create_or_update", "virtual_machines.delete"
SCHEDULE = "global_schedules.create_or_update"
BUSY = ArmError(429, "TooManyRequests", "Too many requests.", headers={"Retry-After": "60"})

pytestmark = pytest.mark.usefixtures("consistent", "slow_lists")


@pytest.fixture
def slow_lists(monkeypatch):
    """Who waits for lists, because it does not know what a VM had, waits for ever."""
    monkeypatch.setattr("bigmachine_azure.resources._vms._LISTED_SECONDS", 3600.0)


async def shut_down(kit):
    with trio.fail_after(40):
        await kit.system.shutdown()


def test_vms_that_azure_accepted_none_of_are_not_looked_for(run, arm):
    async def test(kit):
        await kit.setup()
        arm.refuse_always(CREATE, BUSY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kit.system.start, 3, kit.request)
            while arm.count(CREATE) < 3:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        await shut_down(kit)
        assert arm.count(DELETE) == 0

    run(test)


def test_start_that_is_cancelled_while_it_makes_schedules_leaves_no_vm(run, arm):
    async def test(kit):
        await kit.setup()
        arm.refuse(SCHEDULE, BUSY, times=FOREVER, when=lambda call: call.name.endswith("m1"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kit.system.start, 2, kit.request)
            while arm.count(SCHEDULE) < 2:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert arm.vms.all == {}
        assert arm.resources.of_type(arm.schedules.type) == []
        await shut_down(kit)

    run(test, identity="", allow_billing_leak=True)


@pytest.mark.long
def test_session_of_which_azure_took_a_vm_back_ends_without_waiting_for_lists(run, arm):
    async def test(kit):
        [instance] = await kit.start()
        arm.vms.evict(instance.id)
        assert arm.vms.all == {}
        await kit.system.stop(instance)
        await shut_down(kit)

    run(test)
