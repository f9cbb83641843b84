"""Where Azure has no room, or the subscription none, machines come from elsewhere.

A VM that Azure could not make is deleted first, with all that is its.
"""

from __future__ import annotations

import logging

import pytest

from bigmachine.errors import StartError, UsageError
from tests.support.azure.arm import LOCATION
from tests.support.azure.capacity import CODES
from tests.support.azure.errors import ArmError
from tests.support.azure.fixtures import SIZE
from tests.support.azure.vm import Vm

CREATE, DELETE = "virtual_machines.create_or_update", "virtual_machines.delete"
OTHER = "Standard_D2as_v5"
ZONES = ["1", "2", "3"]


def pool(market="spot", size=SIZE, zone=""):
    return f"{market} {size} {LOCATION}" + (f"-{zone}" if zone else "")


def markets_of(instances):
    return sorted(instance.details["market"] for instance in instances)


def sizes_of(instances):
    return sorted(instance.details["instance_type"] for instance in instances)


def fail_next(arm, *errors):
    """Have the next VMs fail while they are made."""
    left, take = [*errors], arm.capacity.take

    def fail(vm):
        if left:
            raise left.pop(0)
        take(vm)

    arm.capacity.take = fail


# -- capacity -------------------------------------------------------------------------


def test_missing_capacity_of_one_zone_comes_from_the_others(run, arm):
    async def test(kit):
        instances = await kit.start(4)
        assert sorted(i.zone[-1] for i in instances) == list("1223")
        assert markets_of(instances) == ["spot"] * 4
        assert len(arm.vms.all) == 4

    arm.capacity.code = "ZonalAllocationFailed"
    arm.capacity.left = {pool(zone="1"): 1, pool(zone="2"): 2}
    run(test, zones=ZONES)


@pytest.mark.parametrize(
    "code", ["SkuNotAvailable", pytest.param("AllocationFailed", marks=pytest.mark.long)]
)
def test_missing_spot_capacity_is_bought_on_demand(run, arm, caplog, code):
    async def test(kit):
        with caplog.at_level(logging.WARNING, "bigmachine.azure"):
            instances = await kit.start(3)
        assert markets_of(instances) == ["on-demand"] * 2 + ["spot"]
        assert len({i.name for i in instances}) == 3
        assert "not all machines were launched as preferred" in caplog.text
        assert f"spot {SIZE}: {code}: " in caplog.text

    arm.capacity.code = code
    arm.capacity[pool()] = 1
    run(test)


@pytest.mark.parametrize(
    "code",
    [c if c == "AllocationFailed" else pytest.param(c, marks=pytest.mark.long) for c in CODES],
)
@pytest.mark.usefixtures("consistent")
def test_vm_without_room_is_deleted_with_all_that_is_its(run, arm, code):
    async def test(kit):
        with pytest.raises(StartError) as caught:
            await kit.start(2)
        text = str(caught.value)
        assert text.startswith(f"Azure launched no instance in {LOCATION}. What was tried, and")
        for market in ("spot", "on-demand"):
            assert f"  {market} {SIZE}{' in 1' if zone else ''}: {code}: " in text
        assert "Name other sizes or zones" in text
        assert "or try again later" in text
        assert arm.leftovers() == ["networkSecurityGroups bm-test-0123abcd"]
        assert arm.meter.rate == 0

    zone = "1" if "Zonal" in code else ""
    arm.capacity.code = code
    arm.capacity.left = {pool(market, zone=zone): 0 for market in ("spot", "on-demand")}
    run(test, zones=[zone] if zone else [])


@pytest.mark.long
def test_fewer_machines_than_requested_are_kept_and_told(run, arm, caplog):
    async def test(kit):
        with caplog.at_level(logging.WARNING, "bigmachine.azure"):
            instances = await kit.start(4)
        assert sizes_of(instances) == [OTHER, SIZE, SIZE]
        assert "fewer machines were launched than requested" in caplog.text

    arm.capacity.left = {pool("on-demand"): 2, pool("on-demand", OTHER): 1}
    run(test, market="on-demand", vm_size=[SIZE, OTHER])


@pytest.mark.long
def test_location_without_room_for_a_size_is_not_asked_for_it_in_each_zone(run, arm):
    async def test(kit):
        instances = await kit.start(1)
        assert sizes_of(instances) == [OTHER]
        assert arm.count(CREATE) == 2

    arm.capacity.code = "AllocationFailed"
    arm.capacity.left = {pool("on-demand", zone=zone): 0 for zone in ZONES}
    run(test, market="on-demand", vm_size=[SIZE, OTHER], zones=ZONES)


@pytest.mark.long
def test_spot_vm_that_is_evicted_while_it_starts_is_replaced(run, arm):
    async def test(kit):
        instances = await kit.start(3)
        assert markets_of(instances) == ["on-demand", "on-demand", "spot"]
        assert {vm.name for vm in arm.vms.all.values()} == {i.id for i in instances}

    arm.vms.evicts_starting = 2
    run(test)


@pytest.mark.long
def test_vm_that_starts_and_starts_is_given_up(run, arm, monkeypatch):
    monkeypatch.setattr("bigmachine_azure.launch._allocation._TIMEOUT", 0.5)

    async def test(kit):
        with pytest.raises(StartError, match=r"Unfinished: Azure has not started the VM within"):
            await kit.start()
        assert arm.vms.all == {}

    def stay(vm: Vm) -> None:
        vm.power = "starting"

    arm.vms._create = stay
    run(test, market="on-demand")


@pytest.mark.long
def test_interface_that_azure_holds_for_a_failed_vm_delays_nobody(run, arm, monkeypatch):
    monkeypatch.setattr("bigmachine_azure.launch._create_vms._PATIENCE", 0.2)

    async def test(kit):
        [instance] = await kit.start()
        assert instance.details["instance_type"] == OTHER
        interfaces = [name for name in arm.leftovers() if name.startswith("networkInterfaces")]
        assert len(interfaces) == 2
        arm.faults.pending.clear()  # 180 seconds later

    held = ArmError(400, "NicReservedForAnotherVm", "Nic(s) in request is reserved for another …")
    arm.refuse_always("network_interfaces.delete", held)
    arm.chance.of = lambda what, probability: what == "an interface that stays all the same"
    arm.capacity.code = "AllocationFailed"
    arm.capacity[pool("on-demand")] = 0
    run(test, market="on-demand", vm_size=[SIZE, OTHER])


# -- quotas ---------------------------------------------------------------------------


@pytest.mark.long
def test_quota_for_some_machines_launches_those(run, arm, caplog):
    async def test(kit):
        system = await kit.setup()
        arm.quotas.limits["standardDSv5Family"] = 6.0
        instances = await system.start(40, kit.request)
        assert len(instances) == 3
        # After the first that is refused, no more are requested.
        assert arm.count(CREATE) <= 3 + 16
        assert "exceeding approved standardDSv5Family Cores quota" in caplog.text

    run(test, market="on-demand")


def test_used_up_quota_is_told_with_what_to_do(run, arm):
    async def test(kit):
        system = await kit.setup()
        arm.quotas.limits["cores"] = 0.0
        with pytest.raises(StartError) as caught:
            await system.start(2, kit.request)
        assert "exceeding approved Total Regional Cores quota" in str(caught.value)
        assert "request a quota increase (Quotas in the Azure portal)" in str(caught.value)
        assert {call.name for call in arm.calls(CREATE)} == {  # of one size only
            "bm-test-0123abcd-m0",
            "bm-test-0123abcd-m1",
        }

    run(test, market="on-demand", vm_size=[SIZE, OTHER])


@pytest.mark.long
def test_spot_quota_leaves_on_demand_and_a_family_the_other_sizes(run, arm):
    async def test(kit):
        system = await kit.setup()
        arm.quotas.limits |= {"lowPriorityCores": 0.0, "standardDSv5Family": 0.0}
        [instance] = await system.start(1, kit.request)
        assert instance.details["market"] == "on-demand"
        assert instance.details["instance_type"] == OTHER
        assert arm.count(CREATE) == 3  # spot; the first size, and the second one, on demand

    run(test, vm_size=[SIZE, OTHER])


@pytest.mark.long
def test_public_addresses_that_are_used_up_end_the_search(run, arm):
    async def test(kit):
        system = await kit.setup()
        arm.quotas.limits["PublicIPAddresses"] = 2.0
        instances = await system.start(3, kit.request)
        assert len(instances) == 2
        assert markets_of(instances) == ["spot", "spot"]
        assert {vm.name for vm in arm.vms.all.values()} == {i.id for i in instances}

    run(test, vm_size=[SIZE, OTHER])


# -- other errors ---------------------------------------------------------------------


@pytest.mark.long
def test_internal_error_of_azure_is_not_the_end(run, arm):
    async def test(kit):
        instances = await kit.start(2)
        assert markets_of(instances) == ["on-demand", "on-demand"]
        assert len(arm.vms.all) == 2

    text = "Operation abandoned due to internal error. Please try again later."
    fail_next(arm, ArmError(500, "InternalOperationError", text))
    run(test, market="on-demand")


def test_wrong_request_is_not_repeated_elsewhere(run, arm):
    async def test(kit):
        system = await kit.setup()
        text = "The value of parameter adminUsername is invalid."
        arm.refuse_always(CREATE, ArmError(400, "InvalidParameter", text))
        with pytest.raises(StartError, match="parameter adminUsername is invalid"):
            await system.start(1, kit.request)
        assert arm.count(CREATE) == 1

    run(test, vm_size=[SIZE, OTHER])


@pytest.mark.long
def test_cause_within_the_error_of_an_operation_is_what_is_told(run, arm):
    async def test(kit):
        with pytest.raises(StartError, match=f"on-demand {SIZE}: AllocationFailed: no room"):
            await kit.start()

    def wrap(answer):
        if "error" in answer:
            detail = {"code": "AllocationFailed", "message": "no room"}
            answer["error"] = {
                "code": "ResourceOperationFailure",
                "message": "The resource operation completed with terminal provisioning state …",
                "details": [detail],
            }
        return answer

    arm.edit("operations.status", wrap)
    arm.capacity.code = "AllocationFailed"
    arm.capacity[pool("on-demand")] = 0
    run(test, market="on-demand")


@pytest.mark.long
def test_zonal_vm_that_can_not_have_an_address_of_no_zone_is_explained(run, arm):
    async def test(kit):
        with pytest.raises(UsageError, match=r"zones: .*ZoneConstraint"):
            await kit.start()
        assert arm.vms.all == {}
        assert arm.count(CREATE) == 1

    # fortinet/azure-templates issue 43
    code = "ComputeResourceZoneConstraintDoesNotMatchPublicIPAddressZoneConstraint"
    fail_next(arm, ArmError(400, code, "Compute resource … has a zone constraint 1 but …"))
    run(test, market="on-demand", zones=ZONES)


@pytest.mark.long
def test_group_that_is_not_found_everywhere_yet_is_waited_for(run, arm):
    async def test(kit):
        text = "Resource group 'bigmachine-westeurope' could not be found."
        arm.refuse(CREATE, ArmError(404, "ResourceGroupNotFound", text), times=2)
        assert len(await kit.start(2)) == 2

    run(test)


@pytest.mark.long
def test_vm_that_failed_and_can_not_be_deleted_now_goes_with_the_session(run, arm, caplog):
    async def test(kit):
        system = await kit.setup()
        locked = ArmError(409, "ScopeLocked", "The scope … cannot perform delete operation …")
        arm.refuse(DELETE, locked)
        [instance] = await system.start(1, kit.request)
        assert "VMs that failed may be left until the session ends: " in caplog.text
        assert len(arm.vms.all) == 2
        await system.shutdown()
        assert arm.vms.all == {}
        assert instance.details["instance_type"] == OTHER

    arm.capacity.code = "AllocationFailed"
    arm.capacity[pool("on-demand")] = 0
    run(test, market="on-demand", vm_size=[SIZE, OTHER])
