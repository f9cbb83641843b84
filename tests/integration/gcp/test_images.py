"""Images: the requested one or the default one, pinned, and of which form it boots."""

from __future__ import annotations

import sys

import pytest

from bigmachine.errors import UsageError
from bigmachine_gcp.catalog._images import BootForm, default_image
from tests.integration.gcp.plans import plan, planning
from tests.support.gcp.gce import PROJECT

UBUNTU = "projects/ubuntu-os-cloud/global/images/"
DEBIAN = "projects/debian-cloud/global/images/"
OWN = f"projects/{PROJECT}/global/images/"


@pytest.mark.parametrize(
    ("version", "amd64", "arm64"),
    [
        ((3, 11), f"{DEBIAN}family/debian-12", f"{DEBIAN}family/debian-12-arm64"),
        (
            (3, 12),
            f"{UBUNTU}family/ubuntu-2404-lts-amd64",
            f"{UBUNTU}family/ubuntu-2404-lts-arm64",
        ),
        ((3, 13), f"{DEBIAN}family/debian-13", f"{DEBIAN}family/debian-13-arm64"),
        (
            (3, 14),
            f"{UBUNTU}family/ubuntu-2604-lts-amd64",
            f"{UBUNTU}family/ubuntu-2604-lts-arm64",
        ),
    ],
)
def test_default_image_has_the_drivers_python_for_each_architecture(version, amd64, arm64):
    assert default_image("X86_64", version) == amd64
    assert default_image("ARM64", version) == arm64


def test_python_that_no_image_has_is_refused():
    with pytest.raises(UsageError, match=r"image: no known release .* has Python 3\.10: pass an"):
        default_image("X86_64", (3, 10))


def test_default_image_of_each_type_is_pinned_by_name(run, gce):
    made = plan(run, machine_type=["n2-standard-2", "t2a-standard-2"], market="on-demand")
    amd64, arm64 = (offer.image for offer in made.offers)
    assert (amd64.architecture, arm64.architecture) == ("X86_64", "ARM64")
    for image in (amd64, arm64):
        assert image.link.startswith((UBUNTU, DEBIAN))
        assert "/family/" not in image.link
        assert image.disk_gib == 10
    expected = BootForm.CLOUD_INIT if sys.version_info[1] % 2 == 0 else BootForm.STARTUP_SCRIPT
    assert amd64.boot_form == arm64.boot_form == expected


FORMS = [
    (f"{UBUNTU}family/ubuntu-2404-lts-amd64", BootForm.CLOUD_INIT),
    (
        f"https://www.googleapis.com/compute/v1/{UBUNTU}family/ubuntu-2404-lts-amd64",
        BootForm.CLOUD_INIT,
    ),
    (f"{DEBIAN}debian-12-bookworm-v20261014", BootForm.STARTUP_SCRIPT),  # and deprecated
    ("projects/rocky-linux-cloud/global/images/family/rocky-linux-9", BootForm.STARTUP_SCRIPT),
    ("global/images/of-ubuntu", BootForm.CLOUD_INIT),
    (f"{OWN}of-debian", BootForm.STARTUP_SCRIPT),
    (f"{OWN}of-suse", BootForm.CLOUD_INIT),
    (f"{OWN}without-architecture", BootForm.STARTUP_SCRIPT),
]
MISFITS = [
    (
        {"image": f"{OWN}family/mine"},
        (
            f"image: the family 'mine' of the project {PROJECT} does not exist, or has no",
            f"`gcloud compute images list --project={PROJECT} --no-standard-images`",
        ),
    ),
    (
        {"image": "projects/debian-cloud/global/images/debian-12"},
        (
            "image: the project debian-cloud has no image 'debian-12'; for the newest of a",
            "'projects/debian-cloud/global/images/family/FAMILY'",
        ),
    ),
    (
        {"image": f"{OWN}gone"},
        (
            f"image: {OWN}gone is obsolete, and Google refuses it: pass",
            f"pass {OWN}newer, or omit it",
        ),
    ),
    (
        {"image": f"{OWN}family/old"},
        ("image: the family 'old' of the", "has no image that is not deprecated"),
    ),
    ({"image": f"{OWN}unfinished"}, ("unfinished is PENDING: pass one that is READY",)),
    (
        {"image": "projects/cos-cloud/global/images/family/cos-stable"},
        ("is Container-Optimized OS, which runs nothing but containers",),
    ),
    (
        {"image": f"{OWN}mislabelled"},
        (
            f"image: the label bigmachine-boot of {OWN}mislabelled must be cloud-init or",
            "startup-script, not 'ignition'",
        ),
    ),
    ({"image": f"{OWN}windows"}, ("windows is for Windows, and machines run Linux",)),
    (
        {"image": "projects/secret-project/global/images/family/golden"},
        (
            "these credentials may not read projects/secret-project/global/images/family/gold",
            "have its owner grant roles/compute.imageUser",
            "(Google answered",
        ),
    ),
    (
        {"image": "projects/no-such-project/global/images/family/golden"},
        ("image: there is no project 'no-such-project', or these credentials may not see it",),
    ),
    (
        {"image": f"{UBUNTU}family/ubuntu-2404-lts-amd64", "machine_type": "t2a-standard-2"},
        (
            "is for X86_64, but t2a-standard-2 for ARM64: choose an image and types of one",
            f"image: {UBUNTU}ubuntu-2404-noble-amd64-v2",
        ),
    ),
    (
        {"image": f"{OWN}large", "disk": 49},
        (f"disk: 49 GiB is too small for {OWN}large: set it to 50 or more",),
    ),
]


def test_boot_form_follows_from_the_images_project_license_or_label(run, gce):
    gce.images.add("of-ubuntu")
    gce.images.add("of-debian")
    gce.images.add("of-suse", labels={"bigmachine-boot": "cloud-init"})
    gce.images.add("without-architecture", architecture="")
    license = f"{gce.url}/compute/v1/projects/ubuntu-os-cloud/global/licenses/ubuntu-2404-lts"

    def with_license(answer):
        return {**answer, "licenses": [license]} if answer["name"] == "of-ubuntu" else answer

    gce.edit("images.get", with_license)

    async def test(planner):
        for image, form in FORMS:
            offer = (await planner.plan(image=image)).offers[0]
            assert offer.image.boot_form == form, image
            assert offer.image.link.startswith("projects/")

    planning(run, test)


def test_image_that_does_not_fit_is_refused(run, gce):
    gce.access.other_projects.add("secret-project")
    gce.images.forbidden.add("secret-project")
    gce.images.add("gone", deprecated="OBSOLETE")
    gce.images.add("ancient", family="old", deprecated="DEPRECATED")
    gce.images.add("unfinished", status="PENDING")
    gce.images.add("windows")
    gce.images.add("large", size=50)
    gce.images.add("mislabelled", labels={"bigmachine-boot": "ignition"})

    def edited(answer):
        if answer["name"] == "gone":
            replacement = f"{gce.url}/compute/v1/{OWN}newer"
            answer = {**answer, "deprecated": {"state": "OBSOLETE", "replacement": replacement}}
        if answer["name"] == "windows":
            answer = {**answer, "guestOsFeatures": [{"type": "WINDOWS"}]}
        return answer

    gce.edit("images.get", edited)

    async def test(planner):
        for options, says in MISFITS:
            said = await planner.refusal(UsageError, **options)
            assert all(words in said for words in says), said

    planning(run, test)
    assert not gce.vms()
