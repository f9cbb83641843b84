"""Whatever happens to a request or to its answer, no VM is bought twice, and none is forgotten."""

from __future__ import annotations

import pytest
import trio

from bigmachine.errors import StartError
from tests.support.azure.arm import LOCATION
from tests.support.azure.errors import ArmError
from tests.support.azure.fixtures import SIZE

CREATE = "virtual_machines.create_or_update"
GROUP = "networkSecurityGroups bm-test-0123abcd"


@pytest.fixture
def one_attempt(monkeypatch):
    """The Api repeats no request, as if its attempts were used up."""
    monkeypatch.setattr("bigmachine_azure.api._api._ATTEMPTS", 1)


def names(arm):
    return sorted(vm.name for vm in arm.vms.all.values())


def test_lost_answer_is_asked_for_again_and_buys_nothing_twice(run, arm):
    async def test(kit):
        await kit.setup()
        arm.lose_answer(CREATE, times=2)
        instances = await kit.system.start(3, kit.request)
        assert names(arm) == [i.id for i in instances]
        assert len(instances) == 3
        assert arm.count(CREATE) == 5

    run(test)


@pytest.mark.usefixtures("one_attempt")
def test_vm_whose_request_is_never_answered_is_found_by_its_name(run, arm):
    async def test(kit):
        await kit.setup()
        arm.lose_answer(CREATE)
        instances = await kit.system.start(2, kit.request)
        assert names(arm) == [i.id for i in instances] == [f"bm-test-0123abcd-m{i}" for i in (0, 1)]
        assert arm.count(CREATE) == 2

    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("one_attempt")
def test_vm_without_an_answer_and_without_room_comes_from_elsewhere(run, arm):
    async def test(kit):
        await kit.setup()
        arm.lose_answer(CREATE)
        [instance] = await kit.system.start(1, kit.request)
        assert instance.details["market"] == "on-demand"
        assert names(arm) == [instance.id]

    arm.capacity.code = "AllocationFailed"
    arm.capacity[f"spot {SIZE} {LOCATION}"] = 0
    run(test)


@pytest.mark.long
@pytest.mark.usefixtures("one_attempt")
def test_vm_that_appears_too_late_is_deleted_and_its_name_is_not_used(run, arm, monkeypatch):
    monkeypatch.setattr("bigmachine_azure.launch._create_vms._FOUND_SECONDS", 0.1)
    monkeypatch.setattr("bigmachine_azure.launch._launch._FOUND_SECONDS", 0.1)
    monkeypatch.setattr("bigmachine.cloud.launch._launch._LISTED_SECONDS", 0.1)

    async def test(kit):
        await kit.setup()
        hidden = ArmError(404, "ResourceNotFound", "The Resource … was not found.")
        arm.refuse("virtual_machines.get", hidden, times=40, when=lambda call: call.name[-1] == "0")
        arm.lose_answer(CREATE)
        with pytest.raises(StartError, match="ServiceUnavailable"):
            await kit.system.start(1, kit.request)
        assert arm.count(CREATE) == 1
        assert GROUP in arm.leftovers()  # the VM may not be found: it is the session's end that

    run(test)


@pytest.mark.long
def test_start_ends_if_it_is_unknown_what_was_launched(run, arm):
    async def test(kit):
        await kit.setup()
        text = "… does not have authorization to perform action …"
        denied = ArmError(403, "AuthorizationFailed", text)
        for method in ("get", "list"):
            arm.refuse(f"virtual_machines.{method}", denied, times=8)
        with pytest.raises(StartError, match="AuthorizationFailed"):
            await kit.system.start(2, kit.request)
        arm.faults.pending.clear()
        await kit.system.shutdown()
        assert arm.vms.all == {}
        assert arm.count(CREATE) == 2

    run(test)


@pytest.mark.long
@pytest.mark.parametrize("is_unknown", [False, True])
def test_name_that_another_vm_has_is_passed_over(run, arm, is_unknown):
    async def test(kit):
        await kit.start()
        [first] = arm.vms.all.values()
        kit.request._names = iter(["m0", "m1"])
        kit.request._certified.clear()
        if is_unknown:  # whether the first attempt has made it
            arm.refuse(CREATE, ArmError(503, "ServiceUnavailable", "…"))
        [second] = await kit.system.start(1, kit.request)
        assert second.id == "bm-test-0123abcd-m1"
        assert names(arm) == [first.name, second.id]
        assert first.tags["bigmachine-machine"] == "m0"

    run(test)


@pytest.mark.parametrize("is_answered", [pytest.param(True, marks=pytest.mark.long), False])
def test_start_that_is_cancelled_waits_for_no_creation_and_leaves_no_vm(run, arm, is_answered):
    async def test(kit):
        await kit.start()
        arm.operations.seconds = 3600.0  # for which VMs are created
        if not is_answered:
            arm.lose_answer(CREATE, times=1000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kit.system.start, 8, kit.request)
            while len(arm.vms.all) < 3:
                await trio.sleep(0.01)
            arm.operations.seconds = 0.02
            nursery.cancel_scope.cancel()
        assert names(arm) == ["bm-test-0123abcd-m0"]  # of the start before

    # run() fails a test after a minute, and an hour passes before Azure is done.
    run(test)


@pytest.mark.long
def test_start_that_is_throttled_for_long_does_not_insist(run, arm):
    async def test(kit):
        await kit.setup()
        arm.throttle(CREATE, times=1000, retry_after=1200)
        with pytest.raises(StartError, match="TooManyRequests"):
            await kit.system.start(2, kit.request)
        assert arm.count(CREATE) == 2

    run(test, vm_size=[SIZE, "Standard_D2as_v5"])


@pytest.mark.long
def test_start_that_is_throttled_shortly_goes_on(run, arm):
    async def test(kit):
        await kit.setup()
        arm.throttle(CREATE, times=3)
        assert len(await kit.system.start(5, kit.request)) == 5
        assert arm.count(CREATE) == 8

    run(test)
