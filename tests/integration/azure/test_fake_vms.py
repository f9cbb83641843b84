"""The tests' Azure treats virtual machines as Azure does."""

from __future__ import annotations

import pytest
from azure.core import MatchConditions

from tests.integration.azure.plain_requests import vm_body
from tests.integration.azure.sdk import QUICKLY, refused_code


@pytest.fixture
def compute(arm, client):
    return client("compute")


@pytest.fixture
def place(arm):
    """A resource group with a network, as a user has them."""
    arm.groups.add("ours")
    return arm.networks.add("net", group="ours")


def create(compute, place, name="m0", **properties):
    vms = compute.virtual_machines
    poller = vms.begin_create_or_update("ours", name, vm_body(place, **properties), **QUICKLY)
    return poller.result()


def test_vm_is_made_with_its_interface_address_and_disk_and_all_go_with_it(
    arm, compute, place, consistent
):
    vm = create(compute, place)
    assert vm.properties.provisioning_state == "Succeeded"
    assert vm.properties.os_profile.custom_data is None
    [nic] = arm.interfaces.all()
    assert nic["properties"]["virtualMachine"]["id"] == vm.id
    assert arm.leftovers() == [
        f"disks {vm.properties.storage_profile.os_disk.name}",
        f"networkInterfaces {nic['name']}",
        f"publicIPAddresses {arm.addresses.all()[0]['name']}",
        "virtualMachines m0",
    ]
    compute.virtual_machines.begin_delete("ours", "m0", force_deletion=True, **QUICKLY).result()
    assert arm.leftovers() == []


def test_deleted_resource_group_takes_its_machines_along(arm, compute, client, place, consistent):
    create(compute, place)
    groups = client("resources").resource_groups
    groups.begin_delete("ours", **QUICKLY).result()
    assert (arm.leftovers(), arm.meter.rate, arm.vms.all) == ([], 0.0, {})


def test_guest_that_powers_off_is_stopped_and_billed_until_it_is_deallocated(
    arm, compute, place, consistent
):
    create(compute, place)
    price = 0.115 + 2.4 / 730 + 0.005
    assert arm.meter.rate == pytest.approx(price)
    arm.vms.power_off("m0")
    [state] = [
        of.code
        for of in compute.virtual_machines.instance_view("ours", "m0").statuses
        if of.code.startswith("PowerState")
    ]
    assert state == "PowerState/stopped"
    before = arm.meter.total
    arm.advance(1800)  # an hour ends the token
    assert arm.meter.total - before == pytest.approx(price / 2, rel=0.01)
    assert arm.meter.stopped_but_billed() == ["m0"]
    compute.virtual_machines.begin_deallocate("ours", "m0", **QUICKLY).result()
    assert arm.meter.rate == pytest.approx(price - 0.115)
    assert arm.meter.stopped_but_billed() == []
    compute.virtual_machines.begin_delete("ours", "m0", **QUICKLY).result()
    assert arm.meter.rate == 0.0


@pytest.mark.parametrize("code", ["AllocationFailed", "OverconstrainedAllocationRequest"])
def test_shortage_leaves_a_vm_that_failed(arm, compute, place, consistent, code):
    arm.capacity["on-demand Standard_D2s_v5 westeurope"] = 0
    arm.capacity.code = code
    assert refused_code(create, compute, place) == code
    vm = compute.virtual_machines.get("ours", "m0", expand="instanceView")
    assert vm.properties.provisioning_state == "Failed"
    assert vm.properties.instance_view.statuses[0].code == f"ProvisioningState/failed/{code}"
    assert arm.meter.rates() == {f"address {arm.addresses.all()[0]['name']}": 0.005}
    compute.virtual_machines.begin_delete("ours", "m0", force_deletion=True, **QUICKLY).result()


def test_shortage_that_is_told_at_once_makes_nothing(arm, compute, place, consistent):
    arm.capacity["spot Standard_D2s_v5 westeurope-2"] = 0
    arm.capacity.code = "SkuNotAvailable"
    vm = vm_body(place, priority="Spot")
    vm["zones"] = ["2"]
    begin = compute.virtual_machines.begin_create_or_update
    assert refused_code(begin, "ours", "m0", vm) == "SkuNotAvailable"
    assert arm.leftovers() == []


def test_quotas_of_cores_families_and_spot_are_told_and_kept(arm, compute, place, consistent):
    arm.quotas.limits |= {"standardDSv5Family": 2.0, "lowPriorityCores": 1.0}
    create(compute, place)
    assert refused_code(create, compute, place, "m1") == "OperationNotAllowed"
    assert refused_code(create, compute, place, "m2", priority="Spot") == "OperationNotAllowed"
    usages = {of.name.value: of for of in compute.usage.list("westeurope")}
    assert (usages["cores"].current_value, usages["standardDSv5Family"].limit) == (2, 2)
    assert usages["lowPriorityCores"].name.localized_value == "Total Regional Spot vCPUs"
    compute.virtual_machines.begin_delete("ours", "m0", **QUICKLY).result()


def test_deletion_ends_the_operation_that_creates(arm, compute, place, consistent):
    arm.vms.unready.add("m0")
    vms = compute.virtual_machines
    creation = vms.begin_create_or_update("ours", "m0", vm_body(place), **QUICKLY)
    vms.begin_delete("ours", "m0", force_deletion=True, **QUICKLY).result()
    assert refused_code(creation.result) == "OperationPreempted"
    assert arm.leftovers() == []


def test_guest_that_never_reports_is_told_after_minutes_and_stays(arm, compute, place, consistent):
    arm.vms.unready.add("m0")
    vms = compute.virtual_machines
    creation = vms.begin_create_or_update("ours", "m0", vm_body(place), **QUICKLY)
    arm.advance(1)
    arm.advance(20 * 60)
    assert refused_code(creation.result) == "OSProvisioningTimedOut"
    assert arm.meter.rates()["vm m0"] == 0.115
    vms.begin_delete("ours", "m0", force_deletion=True, **QUICKLY).result()


@pytest.mark.parametrize(("policy", "left"), [("Delete", False), ("Deallocate", True)])
def test_evicted_vm_goes_or_stays_deallocated(arm, compute, place, consistent, policy, left):
    spot = {"priority": "Spot", "evictionPolicy": policy, "billingProfile": {"maxPrice": -1}}
    create(compute, place, **spot)
    assert arm.meter.rates()["vm m0"] == 0.023
    compute.virtual_machines.simulate_eviction("ours", "m0")
    assert bool(arm.leftovers()) is left
    assert "vm m0" not in arm.meter.rates()
    if left:
        assert arm.vms.by_name("m0").power == "deallocated"
        compute.virtual_machines.begin_delete("ours", "m0", **QUICKLY).result()


def test_second_vm_of_a_name_is_refused_where_that_was_asked_for(arm, compute, place, consistent):
    create(compute, place)
    begin = compute.virtual_machines.begin_create_or_update
    again = {"match_condition": MatchConditions.IfMissing, "etag": "*"}
    assert refused_code(begin, "ours", "M0", vm_body(place), **again) == "PreconditionFailed"
    other = vm_body(place, priority="Spot")
    assert refused_code(begin, "ours", "m0", other) == "PropertyChangeNotAllowed"
    compute.virtual_machines.begin_delete("ours", "m0", **QUICKLY).result()


def test_console_is_read_from_a_signed_link_without_a_token(arm, compute, place, consistent):
    import ssl
    import urllib.request

    diagnostics = {"bootDiagnostics": {"enabled": True}}
    create(compute, place, diagnosticsProfile=diagnostics)
    arm.vms.by_name("m0").console = "login:"
    link = compute.virtual_machines.retrieve_boot_diagnostics_data("ours", "m0")
    trust = ssl.create_default_context(cadata=arm.certificate)
    with urllib.request.urlopen(link.serial_console_log_blob_uri, context=trust) as answer:
        assert answer.read() == b"login:"
    compute.virtual_machines.begin_delete("ours", "m0", **QUICKLY).result()


BAD = {
    "a size that there is not": ({"hardwareProfile": {"vmSize": "Standard_X"}}, "InvalidParameter"),
    "a size without the generation": (
        {"hardwareProfile": {"vmSize": "Standard_D2s_v6"}, "image": "server-gen1"},
        "BadRequest",
    ),
    "an image for another architecture": ({"image": "server-arm64"}, "BadRequest"),
    "an image that there is not": ({"image": "servr"}, "PlatformImageNotFound"),
    "spot with a burstable size": (
        {"hardwareProfile": {"vmSize": "Standard_B2s_v2"}, "priority": "Spot"},
        "AzureSpotIsNotSupportedForThisVMSize",
    ),
    "an eviction policy without spot": (
        {"evictionPolicy": "Delete"},
        "EvictionPolicyCanBeSetOnlyOnAzureSpotVirtualMachines",
    ),
    "too low a price": (
        {"priority": "Spot", "billingProfile": {"maxPrice": 0.01}},
        "SpotPriceGreaterThanProvidedMaxPrice",
    ),
    "a user name that is reserved": ({"user": "admin"}, "InvalidParameter"),
    "a disk smaller than the image": ({"gb": 20}, "OperationNotAllowed"),
}


@pytest.mark.parametrize(("wrong", "code"), BAD.values(), ids=BAD)
def test_bad_vm_is_refused(arm, compute, place, consistent, wrong, code):
    wrong = dict(wrong)
    image, user, gb = (wrong.pop(key, None) for key in ("image", "user", "gb"))
    vm = vm_body(place, **wrong)
    of = vm["properties"]
    if image:
        of["storageProfile"]["imageReference"]["sku"] = image
    if user:
        of["osProfile"]["adminUsername"] = user
    if gb:
        of["storageProfile"]["osDisk"]["diskSizeGB"] = gb
    assert refused_code(compute.virtual_machines.begin_create_or_update, "ours", "m0", vm) == code
    assert arm.leftovers() == []
