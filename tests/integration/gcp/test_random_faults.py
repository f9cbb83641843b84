"""Two starts and a shutdown under random faults: nothing that costs is left without an error."""

from __future__ import annotations

import random

import pytest
import trio

from tests.support.gcp import refusals
from tests.support.gcp.fixtures import TYPE, Kit
from tests.support.random_faults import reap, start_and_shut_down

pytestmark = pytest.mark.long

ZONES = ["us-central1-a", "us-central1-b"]
POOLS = [f"{market} {TYPE} {zone}" for market in ("spot", "on-demand") for zone in ZONES]
OPTIONS = ({}, {"market": "spot"}, {"machine_type": [TYPE, "n2-standard-4"]})
CHANGES = (
    "instances.bulkInsert",
    "regionInstances.bulkInsert",
    "instances.delete",
    "disks.delete",
    "firewalls.insert",
    "firewalls.delete",
)
READS = (
    "instances.get",
    "instances.list",
    "disks.list",
    "firewalls.get",
    "zoneOperations.wait",
    "regionOperations.wait",
    "globalOperations.wait",
    "zoneOperations.list",
    "regionOperations.list",
)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.timeout(300)
def test_nothing_is_left_without_an_error_that_names_the_session(gce, seed, monkeypatch):
    async def main():
        kit = Kit(gce, zones=ZONES[: chance.choice([1, 2])], **chance.choice(OPTIONS))
        await kit.system.setup()
        arrange(gce, chance)
        with trio.fail_after(150):
            failure = await start_and_shut_down(kit, chance)
        if left := gce.leftovers():
            assert "test-0123abcd" in failure, left
        mend(gce)
        if failure:
            with trio.fail_after(60):
                await reap(kit.other().system)
                while gce.leftovers():  # what a launch that was under way has brought since
                    await reap(kit.other().system)

    chance = random.Random(seed)
    gce.chance._random.seed(seed)
    monkeypatch.setattr("bigmachine.cloud.launch._launch._UNDO_TIMEOUT", 20.0)
    trio.run(main)  # the fixture fails if anything is left


def arrange(gce, chance):
    """Have some requests fail or lose their answers, and some things happen by themselves."""
    for pool in chance.sample(POOLS, chance.randrange(3)):
        gce.capacity[pool] = chance.randrange(3)
    for method in chance.sample(CHANGES, chance.randrange(4)):
        gce.lose_answer(method, times=chance.choice([1, 2, 9]))
    errors = (
        refusals.unavailable(),
        refusals.internal_error(),
        refusals.rate_limit(),
        refusals.not_ready("it"),
    )
    for method in chance.sample(CHANGES + READS, chance.randrange(4)):
        gce.refuse(method, chance.choice(errors), times=chance.choice([1, 3, 9]))
    gce.operations.step_seconds = chance.choice([0.01, 0.03, 0.1])
    gce.bulk.refuses_at_once = chance.random() < 0.3
    gce.instances.preempts_starting = chance.choice([0, 0, 1, 3])
    for _ in range(chance.randrange(3)):
        event = chance.choice([preempt_one, power_off_one, lose_zone])
        gce.timeline.after(chance.uniform(0.05, 0.6), lambda event=event: event(gce, chance))


def preempt_one(gce, chance):
    spot = [vm for vm in running(gce) if vm.scheduling["provisioningModel"] == "SPOT"]
    for vm in chance.sample(spot, min(1, len(spot))):
        gce.instances.preempt(vm)


def power_off_one(gce, chance):
    for vm in chance.sample(running(gce), min(1, len(running(gce)))):
        gce.instances.power_off(vm)


def lose_zone(gce, chance):
    zone = chance.choice(ZONES)
    gce.unreachable_zones.add(zone)
    gce.timeline.after(chance.choice([0.3, 3.0]), lambda: gce.unreachable_zones.discard(zone))


def running(gce):
    return [vm for vm in gce.instances.all.values() if vm.status == "RUNNING"]


def mend(gce):
    gce.faults.pending.clear()
    gce.unreachable_zones.clear()
    gce.operations.step_seconds = 0.01
