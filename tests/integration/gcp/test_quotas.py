"""Quotas are read if that is permitted; one below a single machine is an error at once."""

from __future__ import annotations

import logging

import pytest

from bigmachine.errors import StartError
from tests.integration.gcp.plans import plan, planning
from tests.support.gcp.errors import GceError

R = "us-central1"


TOO_LOW = [
    (
        {(R, "N2_CPUS"): 1},
        {},
        "2 of N2_CPUS in us-central1 are needed, and the limit is 1 (0 in use)",
    ),
    (
        {(R, "CPUS"): 1},
        {"machine_type": "e2-standard-2"},
        "2 of CPUS in us-central1 are needed, and the limit is 1 (0",
    ),
    (
        {("", "CPUS_ALL_REGIONS"): 1},
        {},
        "2 of CPUS_ALL_REGIONS in all regions are needed, and the limit is 1 (0 in use)",
    ),
    (
        {(R, "IN_USE_ADDRESSES"): 0},
        {},
        "1 of IN_USE_ADDRESSES in us-central1 are needed, and the limit is 0 (0 in use)",
    ),
    (
        {(R, "SSD_TOTAL_GB"): 500},
        {"data_disk": 600},
        "620 of SSD_TOTAL_GB in us-central1 are needed, and the limit is 500",
    ),
    (
        {(R, "DISKS_TOTAL_GB"): 10},
        {"disk_type": "pd-standard"},
        "20 of DISKS_TOTAL_GB in us-central1 are needed, and the limit is 10",
    ),
    (
        {(R, "HDB_TOTAL_GB"): 10},
        {"machine_type": "c4-standard-2"},
        "20 of HDB_TOTAL_GB in us-central1 are needed, and the limit is 10",
    ),
    (
        {(R, "LOCAL_SSD_TOTAL_GB"): 300},
        {"local_disks": True},
        "375 of LOCAL_SSD_TOTAL_GB in us-central1 are needed, and the limit is 300",
    ),
    (
        {("", "GPUS_ALL_REGIONS"): 0},
        {"machine_type": "g2-standard-4"},
        "1 of GPUS_ALL_REGIONS in all regions are needed, and the limit is 0 (0 in use)",
    ),
    (
        {(R, "NVIDIA_V100_GPUS"): 0},
        {"machine_type": "n1-standard-4", "accelerator": "nvidia-tesla-v100"},
        "1 of NVIDIA_V100_GPUS in us-central1 are needed, and the limit is 0",
    ),
    (
        {(R, "PREEMPTIBLE_CPUS"): 1},
        {"market": "spot"},
        "2 of PREEMPTIBLE_CPUS in us-central1 are needed, and the limit is 1",
    ),
]
ENOUGH = [
    ({(R, "PREEMPTIBLE_CPUS"): 0}, {"market": "spot"}),  # never granted: the usual one counts
    ({(R, "N2_CPUS"): 0, (R, "PREEMPTIBLE_CPUS"): 8}, {"market": "spot"}),
    ({(R, "N2_CPUS"): 0}, {"machine_type": ["n2-standard-2", "e2-standard-2"]}),
    ({(R, "E2_CPUS"): 0}, {"machine_type": "e2-standard-2"}),  # E2 counts as CPUS
    ({(R, "CPUS"): 0}, {"machine_type": "c4-standard-2"}),  # its quota is in another API
    ({(R, "IN_USE_ADDRESSES"): 0}, {"public_address": False}),
    ({(R, "CPUS"): -1.0}, {"machine_type": "e2-standard-2"}),
    (
        {(R, "NVIDIA_L4_GPUS"): 0, (R, "PREEMPTIBLE_NVIDIA_L4_GPUS"): 1},
        {"machine_type": "g2-standard-4", "market": "on-demand"},
    ),
]


def test_quota_below_one_machine_is_refused(run, gce):
    async def test(planner):
        for limits, options, says in TOO_LOW:
            gce.quotas.limits = dict(limits)
            said = await planner.refusal(StartError, **options)
            assert said.startswith("this project's quota does not allow a single ")
            assert says in said
            assert "Request an increase (IAM & Admin, Quotas" in said
            assert "free trials must be upgraded first" in said

    planning(run, test)
    assert not gce.count("firewalls.insert")


def test_quota_that_does_not_count_or_leaves_another_offer_is_no_error(run, gce):
    async def test(planner):
        for limits, options in ENOUGH:
            gce.quotas.limits = dict(limits)
            assert (await planner.plan(**options)).offers

    planning(run, test)


def test_what_a_quota_allows_none_of_is_not_asked_for(run, gce):
    async def test(planner):
        types = ["n2-standard-2", "e2-standard-2"]
        for metric, left in (("N2_CPUS", "e2-standard-2"), ("CPUS", "n2-standard-2")):
            gce.quotas.limits = {(R, metric): 1}
            made = await planner.plan(machine_type=types)
            assert {offer.machine_type.name for offer in made.offers} == {left}

    planning(run, test)


@pytest.mark.parametrize("method", ["regions.get", "projects.get"])
def test_unknown_quotas_are_not_zero(run, gce, method):
    gce.quotas.are_unknown = True
    if method == "projects.get":
        gce.refuse_always(method, GceError(403, "forbidden", "Required 'compute.projects.get' per"))
    assert plan(run).offers


def test_more_machines_than_there_is_room_for_is_a_warning(run, gce, caplog):
    gce.quotas.limits[R, "IN_USE_ADDRESSES"] = 8
    made = plan(run)
    with caplog.at_level(logging.WARNING, "bigmachine.gcp"):
        made.quotas.warn(made.offers, count=8)
        assert not caplog.messages
        made.quotas.warn(made.offers, count=9)
    assert caplog.messages == [
        "9 machines are more than the quota may allow: "
        "9 of IN_USE_ADDRESSES in us-central1 are needed, and the limit is 8 (0 in use)"
    ]


def test_quota_that_others_use_up_is_a_warning(run, gce, caplog):
    def used_up(answer):
        quotas = [{**q, "usage": q["limit"]} for q in answer["quotas"] if q["metric"] == "N2_CPUS"]
        return {**answer, "quotas": quotas}

    gce.edit("regions.get", used_up)
    with caplog.at_level(logging.WARNING, "bigmachine.gcp"):
        assert plan(run).offers
    [line] = caplog.messages
    assert line.startswith("other resources use this project's quota up just now: 2 of N2_CPUS")
