"""Images: the requested one or the default one, pinned, and whether the sizes can boot it."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from bigmachine.errors import UsageError
from bigmachine_azure.catalog._images import default_image
from bigmachine_azure.catalog._vm_sizes import VmSize
from tests.integration.azure.plans import plan, planning
from tests.support.azure.errors import ArmError
from tests.support.azure.platform_images import Plan, PlatformImage

UBUNTU = "Canonical:ubuntu-24_04-lts"
NVME_SIZE, SCSI_SIZE, ARM_SIZE, OLD_SIZE = (
    "Standard_D2s_v6",
    "Standard_D2s_v5",
    "Standard_D2ps_v5",
    "Standard_Old",
)
GROUP = "lab"


def size(architecture: str = "x64", *generations: str) -> VmSize:
    return VmSize("S", "", 2, 8 << 30, 2, architecture, generations=frozenset(generations))


@pytest.mark.parametrize(
    ("version", "urns"),
    [
        ((3, 11), ("Debian:debian-12:12-gen2", "Debian:debian-12:12", "Debian:debian-12:12-arm64")),
        ((3, 12), (f"{UBUNTU}:server", f"{UBUNTU}:server-gen1", f"{UBUNTU}:server-arm64")),
        ((3, 13), ("Debian:debian-13:13-gen2", "Debian:debian-13:13", "Debian:debian-13:13-arm64")),
        (
            (3, 14),
            (
                "Canonical:ubuntu-26_04-lts:server",
                "Canonical:ubuntu-26_04-lts:server-gen1",
                "Canonical:ubuntu-26_04-lts:server-arm64",
            ),
        ),
    ],
)
def test_default_image_has_the_drivers_python_for_each_size(version, urns):
    sizes = [size("x64", "V1", "V2"), size("x64", "V1"), size("Arm64", "V2")]
    assert [default_image(each, version) for each in sizes] == [f"{urn}:latest" for urn in urns]


def test_python_that_no_image_has_is_refused():
    with pytest.raises(UsageError, match=r"image: no known release .* has Python 3\.10: pass an"):
        default_image(size("x64", "V2"), (3, 10))


def test_default_image_of_each_size_is_pinned_to_its_newest_version(run, arm):
    old = dataclasses.replace(arm.skus.sizes[SCSI_SIZE], name=OLD_SIZE, generations=("V1",))
    arm.skus.sizes[OLD_SIZE] = old
    made = plan(run, vm_size=[SCSI_SIZE, ARM_SIZE, OLD_SIZE, NVME_SIZE], market="on-demand")
    images = {offer.type_name: offer.image for offer in made.offers}
    assert [each.architecture for each in images.values()] == ["x64", "Arm64", "x64", "x64"]
    assert [each.generation for each in images.values()] == ["V2", "V2", "V1", "V2"]
    assert images[SCSI_SIZE] == images[NVME_SIZE]
    for image in images.values():
        reference = image.reference
        assert list(reference) == ["publisher", "offer", "sku", "version"]
        [found] = [
            each for each in arm.images.all if each.urn == ":".join([*reference.values()][:3])
        ]
        assert reference["version"] == found.versions[-1]
        assert (image.disk_gib, image.plan) == (30, None)


def test_image_of_a_gallery_is_pinned_to_its_newest_version_here(run, arm):
    arm.groups.add(GROUP)
    versions = {"1.9.0": arm.location, "1.10.0": arm.location, "2.0.0": "eastus"}
    id = arm.images.add_to_gallery("tools", group=GROUP, versions=versions, controllers="NVMe,SCSI")
    managed = arm.images.add_managed("mine", group=GROUP, size=40)

    async def test(planner):
        async def image(name, **options):
            return (await planner.plan(image=name, disk=64, **options)).offers[0].image

        assert (await image(id)).reference == {"id": f"{id}/versions/1.10.0"}
        assert (await image(id, vm_size=NVME_SIZE)).controllers == {"SCSI", "NVMe"}
        assert (await image(f"{id}/versions/1.9.0")).reference == {"id": f"{id}/versions/1.9.0"}
        own = await image(managed)
        assert (own.reference, own.disk_gib, own.controllers) == ({"id": managed}, 40, {"SCSI"})
        said = await planner.refusal(UsageError, image=f"{id}/versions/2.0.0")
        assert said.startswith(f"image: {id}/versions/2.0.0 is not replicated to westeurope, but")
        said = await planner.refusal(UsageError, image=f"{id}/versions/3.0.0")
        assert said.startswith(f"image: there is no {id}/versions/3.0.0: pass another one")
        said = await planner.refusal(UsageError, image=id, location="northeurope")
        assert f"{id} has no version in northeurope: replicate one" in said
        said = await planner.refusal(UsageError, image=managed)
        assert said == f"disk: 30 GiB is too small for {managed}: set it to 40 or more"
        said = await planner.refusal(UsageError, image=managed, location="northeurope")
        assert f"{managed} is in westeurope, but the session in northeurope" in said

    planning(run, test)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("Community", "communityGalleryImageId"),
        pytest.param("Shared", "sharedGalleryImageId", marks=pytest.mark.long),
    ],
)
def test_image_of_a_public_gallery_is_pinned_to_its_newest_version(run, arm, kind, key):
    both = [{"name": "DiskControllerTypes", "value": "SCSI, NVMe"}]
    id = arm.public_galleries.add(
        kind, "tools-0ab1", "ml", versions=["1.9.1", "1.10.0"], features=both
    )

    async def test(planner):
        image = (await planner.plan(image=id, vm_size=NVME_SIZE)).offers[0].image
        assert image.reference == {key: f"{id}/Versions/1.10.0"}
        assert image.disk_gib == 30
        written = f"{id}/versions/1.9.1".replace("Images", "images")
        image = (await planner.plan(image=written)).offers[0].image
        assert image.reference == {key: f"{id}/Versions/1.9.1"}
        for name in (f"{id}/Versions/3.0.0", id.replace("/ml", "/mi")):
            said = await planner.refusal(UsageError, image=name)
            assert said.startswith(f"image: there is no {name}: pass another one, or omit it")

    planning(run, test)


def test_image_of_another_subscription_is_read_there(run, arm):
    other = "66666666-6666-4666-8666-666666666666"
    id = f"/subscriptions/{other}/resourceGroups/g/providers/Microsoft.Compute/images/i"
    denied = ArmError(403, "AuthorizationFailed", "The client 'me' does not have authorization")
    arm.refuse_always("images.get", denied)
    arm.places.tenants[other] = next(iter(arm.places.tenants.values()))

    async def test(planner):
        said = await planner.refusal(UsageError, image=id)
        assert said.startswith(f"image: these credentials may not read {id}: have its owner grant")

    planning(run, test)


MISFITS = [
    (
        {"image": f"{UBUNTU}:server-gen1:latest", "vm_size": NVME_SIZE},
        f"is of generation V1, but {NVME_SIZE} boots V2: choose an image of that generation",
    ),
    (
        {"image": f"{UBUNTU}:server:latest", "vm_size": [SCSI_SIZE, OLD_SIZE]},
        f"is of generation V2, but {OLD_SIZE} boots V1: choose",
    ),
    (
        {"image": f"{UBUNTU}:server:latest", "vm_size": [SCSI_SIZE, ARM_SIZE]},
        f"is for x64, but {ARM_SIZE} is Arm64: choose an image and sizes of one architecture",
    ),
    (
        {"image": "RedHat:RHEL:9-lvm-gen2:latest", "vm_size": NVME_SIZE, "disk": 64},
        f"boots from SCSI disks, but {NVME_SIZE} has NVMe alone: choose an image whose feature",
    ),
    (
        {"image": "RedHat:RHEL:9-lvm-gen2:latest"},
        "disk: 30 GiB is too small for RedHat:RHEL:9-lvm-gen2:1.0.20261103: set it to 64 or more",
    ),
    (
        {"image": "MicrosoftWindowsServer:WindowsServer:2022-g2:latest", "disk": 127},
        "is for Windows, and machines run Linux",
    ),
    ({"image": "us:old:gone:latest"}, "us:old:gone:1.0.20261103 is deprecated, and Azure refuses"),
    ({"image": "us:disks:two:latest"}, "has data disks of its own, which would be left when"),
    (
        {"image": f"{UBUNTU}:sever:latest"},
        f"image: Azure has no image '{UBUNTU}:sever:latest' in westeurope: pass another one, or",
    ),
    (
        {"image": f"{UBUNTU}:server:1.2.3"},
        "list all with `az vm image list --all --location westeurope --publisher Canonical --offer",
    ),
    (
        {"image": "resf:rockylinux-x86_64:9-base:latest"},
        "is sold by resf, and its terms are not accepted in this subscription: read and accept "
        "them (`az vm image terms accept --publisher resf --offer rockylinux-x86_64 --plan 9-base",
    ),
]


def test_image_that_a_size_cannot_boot_is_refused(run, arm):
    old = dataclasses.replace(arm.skus.sizes[SCSI_SIZE], name=OLD_SIZE, generations=("V1",))
    arm.skus.sizes[OLD_SIZE] = old
    arm.images.all += [PlatformImage("us", "old", "gone"), PlatformImage("us", "disks", "two")]

    def edit(answer):
        if "/Offers/old/" in answer["id"]:
            answer["properties"]["imageDeprecationStatus"] = {"imageState": "Deprecated"}
        if "/Offers/disks/" in answer["id"]:
            answer["properties"]["dataDiskImages"] = [{"lun": 0}]
        return answer

    arm.edit("virtual_machine_images.get", edit)

    async def test(planner):
        for options, says in MISFITS:
            said = await planner.refusal(UsageError, **options)
            assert said.startswith(("image: ", "disk: "))
            assert says in said, said

    planning(run, test)


def test_image_with_accepted_terms_is_bought_by_its_plan(run, arm):
    arm.images.accepted.add("resf/rockylinux-x86_64/9-base")
    [offer, _] = plan(run, image="resf:rockylinux-x86_64:9-base:latest").offers
    assert offer.image.plan.body == {
        "name": "9-base",
        "publisher": "resf",
        "product": "rockylinux-x86_64",
    }


def test_terms_that_may_not_be_read_are_left_to_azure(run, arm):
    denied = ArmError(403, "AuthorizationFailed", "The client 'me' does not have authorization")
    arm.refuse_always("agreements.get", denied)
    assert plan(run, image="resf:rockylinux-x86_64:9-base:latest").offers


def test_image_that_is_soon_deprecated_is_warned_of(run, arm, caplog):
    def edit(answer):
        answer["properties"]["imageDeprecationStatus"] = {
            "imageState": "ScheduledForDeprecation",
            "scheduledDeprecationTime": "2026-12-31T00:00:00Z",
        }
        return answer

    arm.edit("virtual_machine_images.get", edit)
    with caplog.at_level(logging.WARNING, "bigmachine.azure"):
        assert plan(run, image=f"{UBUNTU}:server:latest").offers
    [line] = [
        text for text in caplog.messages if "will be refused by Azure from 2026-12-31" in text
    ]
    assert line.startswith(f"{UBUNTU}:server:")


def test_newest_version_is_the_highest_that_is_not_deprecated(run, arm):
    versions = ("8.10.2024070513", "8.9.2024022012", "8.11.2024080101")  # in no order
    arm.images.all.append(PlatformImage("us", "rhel", "8", versions=versions))

    def edit(answer):
        for each in answer:
            if each["name"].startswith("8.11."):
                each["properties"]["imageDeprecationStatus"] = {"imageState": "Deprecated"}
        return answer

    arm.edit("virtual_machine_images.list", edit)
    assert plan(run, image="us:rhel:8:latest").offers[0].image.name == "us:rhel:8:8.10.2024070513"


@pytest.mark.long
def test_image_for_trusted_launch_alone_boots_in_such_vms(run, arm):
    arm.groups.add(GROUP)
    trusted, confidential = (
        arm.images.add_to_gallery(
            name, group=GROUP, features=[{"name": "SecurityType", "value": name}]
        )
        for name in ("TrustedLaunch", "ConfidentialVM")
    )

    async def test(kit):
        await kit.start()
        [vm] = arm.vms.all.values()
        security = vm.document["properties"]["securityProfile"]
        assert security["securityType"] == "TrustedLaunch"

    run(test, image=trusted, allow_billing_leak=True)

    async def refused(planner):
        said = await planner.refusal(UsageError, image=confidential)
        assert said.endswith("is for confidential VMs alone: pass another one, or omit it")
        without = dataclasses.replace(arm.skus.sizes[SCSI_SIZE], has_trusted_launch=False)
        arm.skus.sizes[SCSI_SIZE] = without
        said = await planner.refusal(UsageError, image=trusted)
        assert f"is for VMs with Trusted launch alone, which {SCSI_SIZE} does not have" in said

    planning(run, refused)


@pytest.mark.long
def test_image_of_a_gallery_that_is_no_machines_is_refused(run, arm):
    arm.groups.add(GROUP)
    plan_of = Plan("p", "o", "us").fields()
    special = arm.images.add_to_gallery("special", group=GROUP, osState="Specialized")
    windows = arm.images.add_to_gallery("windows", group=GROUP, osType="Windows")
    sold = arm.images.add_to_gallery("sold", group=GROUP, purchasePlan=plan_of)

    async def test(planner):
        said = await planner.refusal(UsageError, image=special)
        assert "is specialized, a copy of one VM that takes no user data" in said
        assert "is for Windows" in await planner.refusal(UsageError, image=windows)
        made = await planner.plan(image=sold)  # nobody knows of its terms
        assert made.offers[0].image.plan.body == plan_of
        said = await planner.refusal(UsageError, image=special, vm_size=NVME_SIZE)
        assert said.startswith("image: ")

    planning(run, test)
