"""Disks and GPUs that a machine type can have, as Google's documentation says."""

from __future__ import annotations

import pytest

from bigmachine.errors import UsageError
from bigmachine_gcp.catalog._disk_types import attachable_local_ssds, disk_types, local_ssd_gib
from bigmachine_gcp.catalog._machine_types import MachineType
from bigmachine_gcp.plan._offers import bulk_groups
from tests.integration.gcp.plans import plan, planning


def machine_type(name: str, vcpus: int = 0, *, local_ssds: int = 0) -> MachineType:
    last = name.removesuffix("-lssd").rpartition("-")[2]
    size = vcpus or (int(last) if last.isdigit() else 1)
    zones = frozenset({"us-central1-a"})
    return MachineType(name, size, 1 << 33, "X86_64", zones, local_ssds=local_ssds)


@pytest.mark.parametrize(
    ("name", "default", "others"),
    [
        ("e2-standard-2", "pd-balanced", {"pd-ssd", "pd-standard"}),
        ("n1-standard-2", "pd-balanced", {"pd-ssd", "pd-standard"}),
        ("custom-2-4096", "pd-balanced", {"pd-ssd", "pd-standard"}),
        ("f1-micro", "pd-balanced", {"pd-ssd", "pd-standard"}),
        ("g2-standard-4", "pd-balanced", {"pd-ssd"}),
        ("c3-standard-4", "pd-balanced", {"pd-ssd", "hyperdisk-balanced"}),
        ("h3-standard-88", "pd-balanced", {"hyperdisk-balanced"}),
        ("m3-megamem-64", "pd-balanced", {"pd-ssd", "pd-standard", "hyperdisk-balanced"}),
        ("a3-highgpu-8g", "pd-balanced", {"pd-ssd", "hyperdisk-balanced"}),
        ("a3-ultragpu-8g", "hyperdisk-balanced", set()),
        ("c3-standard-192-metal", "hyperdisk-balanced", set()),
        ("c4-standard-2", "hyperdisk-balanced", set()),
        ("c4a-standard-2", "hyperdisk-balanced", set()),
        ("n4-standard-2", "hyperdisk-balanced", set()),
        ("zz9-standard-2", "hyperdisk-balanced", set()),  # a series to come
    ],
)
def test_boot_disk_has_a_type_that_the_series_takes(name, default, others):
    first, *rest = disk_types(machine_type(name))
    assert first == default
    assert {*rest} == others


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("n1-standard-1", (1, 2, 3, 4, 5, 6, 7, 8, 16, 24)),
        ("n2-standard-8", (1, 2, 4, 8, 16, 24)),
        ("n2-standard-16", (2, 4, 8, 16, 24)),
        ("n2-standard-32", (4, 8, 16, 24)),
        ("n2-standard-80", (8, 16, 24)),
        ("n2-standard-96", (16, 24)),
        ("n2d-standard-224", (8, 16, 24)),
        ("c2-standard-30", (4, 8)),
        ("c2d-standard-56", (4, 8)),
        ("g2-standard-24", (2,)),
        ("g2-standard-32", (1,)),
        ("g4-standard-6", ()),
        ("m1-ultramem-40", (1, 2, 3, 4, 5)),
        ("m1-ultramem-160", ()),
        ("m3-megamem-128", (8,)),
        ("a2-highgpu-2g", (2, 4, 8)),
        ("e2-standard-2", ()),
        ("c3-standard-4", ()),
        ("f1-micro", ()),
    ],
)
def test_numbers_of_local_ssds_are_those_of_the_type(name, numbers):
    assert attachable_local_ssds(machine_type(name)) == numbers


def test_local_ssds_that_come_with_a_type_are_not_attached_again():
    assert attachable_local_ssds(machine_type("c3-standard-4-lssd", local_ssds=1)) == ()


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("n2-standard-2", 375),
        ("z3-highmem-88-highlssd", 3000),
        ("c4-standard-288-lssd-metal", 3000),
    ],
)
def test_size_of_a_local_ssd_is_that_of_the_series(name, gib):
    assert local_ssd_gib(machine_type(name, 88)) == gib


def test_offers_have_the_disks_and_gpus_of_the_options(run, gce):
    types = ["n2-standard-16", "c3-standard-4-lssd"]
    made = plan(run, machine_type=types, local_disks=True, market="spot")
    disks = {offer.type_name: offer.disks for offer in made.offers}
    assert disks["n2-standard-16"].attached_ssds == 2  # the least
    assert disks["c3-standard-4-lssd"].attached_ssds == 0  # it comes with one
    assert {each.type_name for each in disks.values()} == {"pd-balanced"}
    assert not plan(run, machine_type=types).offers[0].disks.attached_ssds
    [offer] = plan(
        run, machine_type="n1-standard-4", accelerator="nvidia-tesla-t4:2", market="spot"
    ).offers
    assert offer.machine_type.accelerators == (("nvidia-tesla-t4", 2),)
    [offer] = plan(run, machine_type="g2-standard-24", market="on-demand").offers
    assert offer.machine_type.accelerators == (("nvidia-l4", 2),)


def test_one_bulk_request_has_types_of_one_market_with_the_same_disks(run, gce):
    types = ["n2-standard-2", "e2-standard-2", "c4-standard-2", "n2d-standard-2", "t2a-standard-2"]
    zones = ["us-central1-a", "us-central1-b"]
    made = plan(run, machine_type=types, zones=zones)
    groups = [[*dict.fromkeys(o.type_name for o in group)] for group in bulk_groups(made.offers)]
    of_market = [types[:2], types[2:3], types[3:4], types[4:]]
    assert groups == [*of_market, *of_market]
    assert [*made.offers] == [offer for group in bulk_groups(made.offers) for offer in group]


MISFITS = [
    (
        {"machine_type": ["n2-standard-2", "e2-micro"], "data_disk": 4000},
        ("data_disk: the disks of e2-micro have at most 3072 GiB together, not 4020: pass less",),
    ),
    (
        {"machine_type": "e2-micro", "disk": 4000},
        ("disk: the disks of e2-micro have at most 3072 GiB together, not 4000",),
    ),
    (
        {"machine_type": ["n2-standard-2", "c4-standard-2"], "disk_type": "pd-ssd"},
        ("disk_type: the boot disk of c4-standard-2 can't be of type 'pd-ssd', but of hyperd",),
    ),
    (
        {"machine_type": "e2-standard-2", "disk_type": "hyperdisk-balanced"},
        ("can't be of type 'hyperdisk-balanced', but of pd-balanced or pd-ssd or pd-standard",),
    ),
    (
        {"machine_type": "e2-standard-2", "disk_type": "gp3"},
        ("disk_type: the boot disk of e2-standard-2 can't be of type 'gp3'",),
    ),
    (
        {"machine_type": ["n2-standard-2", "e2-standard-2", "c3-standard-4"], "local_disks": 1},
        ("local_disks: e2-standard-2, c3-standard-4 can't have local SSDs: name types that",),
    ),
    (
        {"machine_type": "n2-standard-2", "accelerator": "nvidia-tesla-t4"},
        ("accelerator: GPUs can be attached to types of the series N1 only", "n1-standard-4"),
    ),
    (
        {"machine_type": "g2-standard-4", "accelerator": "nvidia-l4"},
        ("accelerator: g2-standard-4 comes with 1 × nvidia-l4 already: omit the option",),
    ),
    (
        {"machine_type": "n1-standard-4", "accelerator": "nvidia-tesla-t4:3"},
        ("accelerator: an instance has 1, 2 or 4 of nvidia-tesla-t4, not 3",),
    ),
    (
        {"machine_type": "n1-standard-16", "accelerator": "nvidia-tesla-v100"},
        ("with 1 × nvidia-tesla-v100 an instance has at most 12 vCPUs, and n1-standard-16 h",),
    ),
    (
        {"machine_type": "n1-standard-4", "accelerator": "nvidia-telsa-t4"},
        ("accelerator: no zone offers 'nvidia-telsa-t4' to this project; did you mean 'nv",),
    ),
    (
        {
            "machine_type": "n1-standard-4",
            "accelerator": "nvidia-tesla-v100",
            "zones": ["us-central1-b"],
        },
        (
            "accelerator: n1-standard-4 with 1 × nvidia-tesla-v100 is not offered in us-",
            "us-central1-b, but in us-central1-a, us-central1-f: name one of these zones",
        ),
    ),
]


def test_disks_and_gpus_that_a_type_cannot_have_are_refused(run, gce):
    async def test(planner):
        for options, says in MISFITS:
            given = {**options, "local_disks": bool(options.get("local_disks"))}
            said = await planner.refusal(UsageError, **given)
            assert all(words in said for words in says), said

    planning(run, test)


def test_bare_metal_and_a4x_are_not_sold_as_spot():
    metal = machine_type("c3-standard-192-metal", 192)
    assert metal.markets == machine_type("a4x-highgpu-4g").markets == {"on-demand"}
    assert machine_type("n2-standard-2").markets == {"on-demand", "spot"}
