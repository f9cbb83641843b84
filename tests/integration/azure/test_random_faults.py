"""Two starts and a shutdown under random faults: nothing that costs is left without an error."""

from __future__ import annotations

import random

import pytest
import trio

from tests.support.azure.arm import LOCATION
from tests.support.azure.errors import ArmError
from tests.support.azure.fixtures import SIZE, Kit
from tests.support.random_faults import reap, start_and_shut_down

pytestmark = pytest.mark.long

OTHER = "Standard_D2as_v5"
POOLS = [
    f"{market} {size} {LOCATION}" for market in ("spot", "on-demand") for size in (SIZE, OTHER)
]
OPTIONS = ({}, {"market": "spot"}, {"vm_size": [SIZE, OTHER]}, {"public_address": False})
CHANGES = (
    "virtual_machines.create_or_update",
    "virtual_machines.delete",
    "network_security_groups.create_or_update",
    "network_security_groups.delete",
    "network_interfaces.delete",
    "public_ip_addresses.delete",
    "disks.delete",
)
READS = (
    "virtual_machines.get",
    "virtual_machines.list_all",
    "network_interfaces.get",
    "network_interfaces.list_all",
    "public_ip_addresses.list_all",
    "disks.list",
    "network_security_groups.get",
    "operations.status",
)
ERRORS = (
    ArmError(500, "InternalServerError", "An error occurred."),
    ArmError(503, "ServiceUnavailable", "The service is temporarily unavailable."),
    ArmError(429, "TooManyRequests", "Too many requests.", headers={"Retry-After": "0"}),
    ArmError(429, "RetryableError", "A retryable error occurred."),
)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.timeout(300)
def test_nothing_is_left_without_an_error_that_names_the_session(arm, seed, monkeypatch):
    async def main():
        kit = Kit(arm, **chance.choice(OPTIONS))
        await kit.system.setup()
        arrange(arm, chance)
        with trio.fail_after(150):
            failure = await start_and_shut_down(kit, chance)
        if left := arm.leftovers():
            assert "test-0123abcd" in failure, left
        mend(arm)
        if failure:
            with trio.fail_after(60):
                await reap(kit.other().system)

    chance = random.Random(seed)
    arm.chance._random.seed(seed)
    monkeypatch.setattr("bigmachine.cloud.launch._launch._UNDO_TIMEOUT", 20.0)
    trio.run(main)  # the fixture fails if anything is left


def arrange(arm, chance):
    """Have some requests fail or lose their answers, and some things happen by themselves."""
    for pool in chance.sample(POOLS, chance.randrange(3)):
        arm.capacity[pool] = chance.randrange(3)
    for method in chance.sample(CHANGES, chance.randrange(4)):
        lose = chance.choice([arm.lose_answer, arm.lose_connection])
        lose(method, times=chance.choice([1, 2, 9]))
    for method in chance.sample(CHANGES + READS, chance.randrange(4)):
        arm.refuse(method, chance.choice(ERRORS), times=chance.choice([1, 3, 9]))
    arm.throttles.at_random = chance.choice([0.0, 0.05])
    arm.operations.seconds = chance.choice([0.01, 0.03, 0.1])
    for _ in range(chance.randrange(3)):
        event = chance.choice([evict_one, power_off_one])
        arm.timeline.after(chance.uniform(0.05, 0.6), lambda event=event: event(arm, chance))


def evict_one(arm, chance):
    spot = [vm for vm in running(arm) if vm.is_spot]
    for vm in chance.sample(spot, min(1, len(spot))):
        arm.vms.evict(vm.name)


def power_off_one(arm, chance):
    for vm in chance.sample(running(arm), min(1, len(running(arm)))):
        arm.vms.power_off(vm.name)


def running(arm):
    return [vm for vm in arm.vms.all.values() if vm.power == "running"]


def mend(arm):
    arm.faults.pending.clear()
    arm.throttles.at_random = 0.0
    arm.operations.seconds = 0.02
