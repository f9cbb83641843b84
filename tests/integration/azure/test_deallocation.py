"""VMs that can't be deleted by their machines are deallocated by Azure, if the driver is dead."""

from __future__ import annotations

import pytest
import trio

from tests.support.azure.errors import ArmError
from tests.support.azure.fixtures import Kit

LEAK = {"identity": "", "allow_billing_leak": True}
DAY = 86_400.0
PUT, DELETE = "global_schedules.create_or_update", "global_schedules.delete"


@pytest.mark.parametrize(
    ("lifetime", "early", "late"),
    [
        (None, DAY - 700, 700),
        pytest.param(4 * 3600.0, 4 * 3600, 1300, marks=pytest.mark.long),
    ],
)
def test_vms_of_a_dead_driver_are_deallocated_in_time(arm, run, lifetime, early, late):
    arm.entra.token_seconds = 2 * DAY

    async def test(kit):
        await kit.start(2)
        running = arm.meter.rate
        arm.advance(early)
        assert arm.schedules.fired == []
        arm.advance(late)
        assert len(arm.schedules.fired) == 2
        arm.advance(60)
        assert arm.meter.rate < running / 3  # disks and addresses

    run(test, **LEAK, lifetime=lifetime)
    assert arm.count(PUT) == 2


def test_schedules_go_with_their_vms(arm, run):
    async def test(kit):
        [first, _] = await kit.start(2)
        [put, _] = arm.calls(PUT)
        assert put.body["tags"]["bigmachine-session"] == kit.request.session
        await kit.system.stop(first)
        assert arm.count(DELETE) == 1

    run(test, **LEAK)  # the fixture sees that nothing is left


@pytest.mark.long
def test_schedules_go_with_vms_that_are_reaped(arm, consistent, run):
    async def test(kit):
        await kit.start()
        reaper = Kit(arm).system  # which does not know the session's options
        for instance in await reaper.instances():
            await reaper.stop(instance)
        await reaper.close()
        assert arm.leftovers() == []

    run(test, **LEAK)


def test_driver_that_lives_moves_the_time_away(arm, run, monkeypatch):
    monkeypatch.setattr("bigmachine_azure.resources._deallocation._RENEW_SECONDS", 0.05)

    async def test(kit):
        await kit.start()
        with trio.fail_after(60):
            while arm.count(PUT) < 3:
                await trio.sleep(0.01)

    run(test, **LEAK)


@pytest.mark.long
def test_session_works_where_schedules_cannot_be_made_and_says_so(arm, run, caplog):
    arm.refuse_always(PUT, ArmError(409, "MissingSubscriptionRegistration", "Not DevTestLab."))

    async def test(kit):
        assert len(await kit.start(2)) == 2

    run(test, **LEAK)
    told = [r.message for r in caplog.records if "will not deallocate" in r.message]
    assert len(told) == 1
    assert "Azure will not deallocate 2 VMs if this driver dies" in told[0]


def test_machines_that_delete_themselves_have_no_schedule(arm, run):
    async def test(kit):
        await kit.start()

    run(test)
    run(test, **LEAK, immortal=False, lifetime=600.0)
    assert arm.count(PUT) == 1
