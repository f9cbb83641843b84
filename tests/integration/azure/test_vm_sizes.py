"""VM sizes: the requested ones in order, or default ones that the subscription may use.

The documents are real answers of ``Microsoft.Compute/skus``, shortened: of Azure/skewer
(testdata/eastus.json) and Azure/karpenter-provider-azure (zz_generated.sku.southcentralus.go).
"""

from __future__ import annotations

from typing import Any

import pytest

from bigmachine.errors import UsageError
from bigmachine.system._options import resolve_options
from bigmachine_azure import AzureOptions
from bigmachine_azure.catalog._skus import DEFAULT_SIZES, Skus
from bigmachine_azure.catalog._vm_sizes import VmSize, misfit
from tests.integration.azure.plans import plan, planning
from tests.support.azure.errors import ArmError

HERE = "eastus"
D2S_V3 = {
    "MaxResourceVolumeMB": "16384",
    "OSVhdSizeMB": "1047552",
    "vCPUs": "2",
    "HyperVGenerations": "V1,V2",
    "MemoryGB": "8",
    "MaxDataDiskCount": "4",
    "CpuArchitectureType": "x64",
    "LowPriorityCapable": "True",
    "PremiumIO": "True",
    "vCPUsAvailable": "2",
}
D2AS_V6 = {
    **D2S_V3,
    "MaxResourceVolumeMB": "0",
    "HyperVGenerations": "V2",
    "DiskControllerTypes": "NVMe",
}
A100 = {
    **D2S_V3,
    "MaxResourceVolumeMB": "65536",
    "vCPUs": "24",
    "vCPUsAvailable": "24",
    "MemoryGB": "220",
    "HyperVGenerations": "V2",
    "NvmeDiskSizeInMiB": "915527",
    "NvmeSizePerDiskInMiB": "915527",
    "GPUs": "1",
}
NV6 = {
    "MaxResourceVolumeMB": "389120",
    "vCPUs": "6",
    "HyperVGenerations": "V1",
    "MemoryGB": "56",
    "MaxDataDiskCount": "24",
    "LowPriorityCapable": "True",
    "PremiumIO": "False",
    "vCPUsAvailable": "6",
    "GPUs": "1",
}
NOT_HERE = {
    "type": "Location",
    "values": ["EastUS"],
    "restrictionInfo": {"locations": ["EastUS"]},
    "reasonCode": "NotAvailableForSubscription",
}


def not_in(*zones: str) -> dict[str, Any]:
    info = {"locations": [HERE], "zones": [*zones]}
    return {
        "type": "Zone",
        "values": [HERE],
        "restrictionInfo": info,
        "reasonCode": "NotAvailableForSubscription",
    }


def sku(
    name: str, capabilities: dict[str, str], *restrictions: Any, family: str = "standardXFamily"
) -> dict[str, Any]:
    return {
        "resourceType": "virtualMachines",
        "name": name,
        "tier": "Standard",
        "family": family,
        "locations": [HERE],
        "locationInfo": [{"location": "EastUS", "zones": ["2", "1", "3"], "zoneDetails": []}],
        "capabilities": [{"name": k, "value": v} for k, v in capabilities.items()],
        "restrictions": [*restrictions],
    }


def sizes(*skus: Any, **options: Any) -> list[VmSize]:
    return Skus(skus, location=HERE).sizes(options_of(**options))


def options_of(**options: Any) -> AzureOptions:
    return resolve_options(AzureOptions, system_name="azure", keywords=options)


def refusal(*skus: Any, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        sizes(*skus, **options)
    return str(caught.value)


def one(name: str, capabilities: dict[str, str], *restrictions: Any, **options: Any) -> VmSize:
    [size] = sizes(sku(name, capabilities, *restrictions), vm_size=name, **options)
    return size


def test_capabilities_are_read_as_azure_writes_them():
    d2s_v3 = one("Standard_D2s_v3", D2S_V3)
    assert str(d2s_v3) == "Standard_D2s_v3 (2 vCPUs, 8 GiB)"
    assert d2s_v3.generations == {"V1", "V2"}
    assert d2s_v3.controllers == {"SCSI"}  # nothing says so
    assert (d2s_v3.temporary_disk_gib, d2s_v3.local_nvme_gib) == (16, 0)
    assert (d2s_v3.max_data_disks, d2s_v3.has_premium_disks) == (4, True)
    assert d2s_v3.markets == {"spot", "on-demand"}
    d2as_v6 = one("Standard_D2as_v6", D2AS_V6)
    assert d2as_v6.controllers == {"NVMe"}
    assert not d2as_v6.has_local_disks
    a100 = one("Standard_NC24ads_A100_v4", A100)
    assert str(a100) == "Standard_NC24ads_A100_v4 (24 vCPUs, 220 GiB, 1 GPU)"
    assert (a100.temporary_disk_gib, a100.local_nvme_gib) == (64, 894)
    nv6 = one("Standard_NV6", NV6)
    assert (nv6.architecture, nv6.generations) == ("x64", {"V1"})
    arm = one("Standard_D2ps_v6", {**D2AS_V6, "CpuArchitectureType": "Arm64"})
    assert arm.architecture == "Arm64"


def test_constrained_size_counts_as_its_parent_in_quotas():
    size = one("Standard_M8-2ms", {**D2S_V3, "vCPUs": "8", "vCPUsAvailable": "2"})
    assert (size.vcpus, size.quota_vcpus) == (2, 8)


@pytest.mark.parametrize("name", ["Standard_B2s_v2", "Standard_DS2_v2_Promo", "Standard_A0"])
def test_size_without_spot_is_sold_on_demand_alone(name):
    capable = "False" if name == "Standard_A0" else "True"
    capabilities = {**D2S_V3, "LowPriorityCapable": capable}
    assert one(name, capabilities).markets == {"on-demand"}
    said = refusal(sku(name, capabilities), vm_size=name, market="spot")
    assert said.startswith(f"market: {name} is not sold as spot: name another size, or pass")


def test_size_restricted_in_the_location_names_others_alike():
    said = refusal(
        sku("Standard_D2s_v3", D2S_V3, NOT_HERE, not_in("1", "2", "3")),
        sku("Standard_D2as_v5", D2S_V3),
        sku("Standard_D2s_v9", D2S_V3, {**NOT_HERE, "reasonCode": "QuotaId"}),
        sku("Standard_NV6", NV6),
        vm_size="Standard_D2s_v3",
    )
    assert said.startswith(
        "vm_size: Standard_D2s_v3 is not offered to this subscription in eastus "
        "(NotAvailableForSubscription): name Standard_D2as_v5, or another location, or request"
    )


def test_size_restricted_in_another_location_alone_is_used():
    elsewhere = {**NOT_HERE, "values": ["westus"], "restrictionInfo": {"locations": ["westus"]}}
    assert one("Standard_D2s_v3", D2S_V3, elsewhere).restriction == ""


def test_restricted_zones_are_left_out_and_others_stay():
    assert one("Standard_NV6", NV6, not_in("2")).zones == {"1", "3"}
    everywhere = not_in("1", "2", "3")
    assert one("Standard_NV6", NV6, everywhere).zones == frozenset()  # and yet without a zone
    said = refusal(sku("Standard_NV6", NV6, not_in("2")), vm_size="Standard_NV6", zones=["2"])
    assert said.startswith(
        "zones: Standard_NV6 is not offered to this subscription in zone 2 of eastus, but in 1, "
        "3: name other zones or another size, or omit zones"
    )
    said = refusal(sku("Standard_NV6", NV6, everywhere), vm_size="Standard_NV6", zones=["2", "3"])
    assert "in zone 2 or 3 of eastus, but in no zone" in said


def test_capitals_of_names_make_no_difference_and_a_misspelt_one_has_a_hint():
    known = sku("Standard_D2s_v3", D2S_V3)
    assert [each.name for each in sizes(known, vm_size="standard_d2S_V3")] == ["Standard_D2s_v3"]
    said = refusal(known, vm_size="Standard_D2s_v33")
    assert said.startswith(
        "vm_size: Azure has no size 'Standard_D2s_v33' in eastus for this subscription; did you "
        "mean 'Standard_D2s_v3'? List all with `az vm list-skus --location eastus"
    )
    assert refusal(vm_size="Standard_D2s_v3").startswith(
        "location: Azure offers no VM sizes in 'eastus' to this subscription"
    )


def test_confidential_size_is_refused():
    capabilities = {**D2S_V3, "ConfidentialComputingType": "SNP"}
    said = refusal(sku("Standard_DC2as_v5", capabilities), vm_size="Standard_DC2as_v5")
    assert said == "vm_size: Standard_DC2as_v5 is for confidential VMs alone: name another size"


def test_default_sizes_are_those_that_the_subscription_may_use():
    first, second, *_ = DEFAULT_SIZES
    offered = [sku(first, D2S_V3, NOT_HERE), sku(DEFAULT_SIZES[-1], D2S_V3), sku(second, D2S_V3)]
    assert [size.name for size in sizes(*offered)] == [second, DEFAULT_SIZES[-1]]
    assert [size.name for size in sizes(*offered, market="spot")] == [second]
    said = refusal(offered[0], sku("Standard_NV6", NV6))
    assert said.startswith("vm_size: this subscription can use no default size (Standard_D2s_v5, ")
    assert f"{first} is not offered to this subscription in eastus" in said


MISFITS = [
    ({"local_disks": True}, D2AS_V6, "local_disks: X has no disk in its host: name sizes that"),
    ({"local_disks": True}, A100, ""),
    ({"data_disk": 100, "data_volumes": 5}, D2S_V3, "data_volumes: X takes at most 4 data disks"),
    ({"data_volumes": 5}, D2S_V3, ""),  # without a data disk
    ({"disk_type": "Premium_LRS"}, NV6, "disk_type: X takes no premium disks"),
    ({"disk_type": "StandardSSD_LRS"}, NV6, ""),
]


@pytest.mark.parametrize(("options", "capabilities", "says"), MISFITS)
def test_disks_that_a_size_cannot_have_are_refused(options, capabilities, says):
    size = one("Standard_D2s_v3", capabilities)
    said = misfit(size, options_of(**options)).replace(size.name, "X")
    assert said.startswith(says)
    assert bool(said) == bool(says)


@pytest.mark.parametrize(
    ("name", "architecture", "generations", "controllers", "is_spot_capable"),
    [
        ("Standard_D2s_v5", "x64", {"V1", "V2"}, {"SCSI"}, True),
        ("Standard_D2pds_v5", "Arm64", {"V2"}, {"SCSI"}, True),
        ("standard_d16ps_v6", "Arm64", {"V2"}, {"NVMe"}, True),
        ("Standard_E4-2as_v6", "x64", {"V2"}, {"NVMe"}, True),
        ("Standard_NC24ads_A100_v4", "x64", {"V1", "V2"}, {"SCSI"}, True),
        ("Standard_B2pts_v2", "Arm64", {"V2"}, {"SCSI"}, False),
        ("Standard_A0", "x64", {"V1", "V2"}, {"SCSI"}, True),
    ],
)
def test_name_of_a_size_says_what_may_not_be_read(
    name, architecture, generations, controllers, is_spot_capable
):
    size = VmSize.from_name(name, zones=["2"])
    assert (str(size), size.vcpus, size.zones) == (name, 0, {"2"})
    assert (size.architecture, size.generations) == (architecture, generations)
    assert (size.controllers, size.is_spot_capable) == (controllers, is_spot_capable)
    wants = {"local_disks": True, "data_disk": 640, "data_volumes": 64}
    assert misfit(size, options_of(**wants, disk_type="Premium_LRS")) == ""


def test_role_on_the_resource_group_alone_leaves_sizes_and_images_to_azure(run, arm):
    denied = ArmError(403, "AuthorizationFailed", "The client 'me' does not have authorization")
    for method in ("resource_skus.list", "virtual_machine_images.list", "usage.list"):
        arm.refuse_always(method, denied)

    async def test(planner):
        made = await planner.plan(vm_size=(), market="on-demand")
        assert [offer.type_name for offer in made.offers] == [*DEFAULT_SIZES]
        arm_size, x64_size = "Standard_D2ps_v5", "Standard_D2s_v5"
        made = await planner.plan(vm_size=[arm_size, x64_size], zones=["1"], market="spot")
        assert [str(offer) for offer in made.offers] == [
            f"spot {arm_size} in westeurope, zone 1",
            f"spot {x64_size} in westeurope, zone 1",
        ]
        first, second = (offer.image.reference for offer in made.offers)
        assert first["sku"].endswith("arm64")
        assert first["sku"] != second["sku"]
        assert first["version"] == second["version"] == "latest"

    planning(run, test)

    async def start(kit):
        await kit.start(2)
        assert kit.system.maxprocs() is None  # nobody has told
        assert len(arm.vms.all) == 2

    run(start, allow_billing_leak=True)


def test_sizes_are_tried_in_order_in_all_zones_and_on_both_markets(run, arm):
    names = ["Standard_D2s_v5", "Standard_NC24ads_A100_v4", "Standard_B2s_v2"]
    made = plan(run, vm_size=names, zones=["2", "1"])
    assert [(o.market, o.type_name, o.zone) for o in made.offers] == [
        ("spot", "Standard_D2s_v5", "2"),
        ("spot", "Standard_D2s_v5", "1"),
        ("spot", "Standard_NC24ads_A100_v4", "2"),  # not offered in the other zone
        ("on-demand", "Standard_D2s_v5", "2"),
        ("on-demand", "Standard_D2s_v5", "1"),
        ("on-demand", "Standard_NC24ads_A100_v4", "2"),
        ("on-demand", "Standard_B2s_v2", "2"),
        ("on-demand", "Standard_B2s_v2", "1"),
    ]
    assert str(made.offers[0]) == "spot Standard_D2s_v5 (2 vCPUs, 8 GiB) in westeurope, zone 2"


def test_default_sizes_that_do_not_fit_the_options_are_left_out(run, arm):
    arm.skus.restricted["Standard_D2s_v5", arm.location] = "NotAvailableForSubscription"

    async def test(planner):
        made = await planner.plan(vm_size=())
        assert [o.type_name for o in made.offers if o.market == "on-demand"] == [*DEFAULT_SIZES[1:]]
        assert {o.zone for o in made.offers} == {""}
        controllers = {o.type_name: o.disk_controller for o in made.offers}
        assert controllers["Standard_D2s_v6"] == "NVMe"
        assert controllers["Standard_D2as_v5"] == ""  # SCSI and NVMe: Azure chooses
        said = await planner.refusal(UsageError, vm_size=(), local_disks=True)
        assert said.startswith("local_disks: Standard_D2as_v5 has no disk in its host")

    planning(run, test)
