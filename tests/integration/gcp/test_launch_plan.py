"""What `setup` finds out about all options together, without changing anything."""

from __future__ import annotations

import pytest
import trio

from bigmachine.errors import UsageError
from bigmachine_gcp.plan._policies import _forbids
from tests.integration.gcp.plans import ALLOW, plan, refusal
from tests.support.gcp.catalog import MachineType
from tests.support.gcp.gce import REGION
from tests.support.waiting import eventually

METAL = "c3-standard-192-metal"
EFFECTIVE = {"getEffectiveFirewalls", "getEffectiveOrgPolicy"}


def test_plan_is_made_by_reads_alone(run, gce):
    made = plan(run, machine_type=["n2-standard-2", "t2a-standard-2"], zones=(), region=REGION)
    assert made.region == REGION
    assert made.allow == (ALLOW,)
    assert {offer.zone for offer in made.offers} == {f"{REGION}-{zone}" for zone in "abcf"}
    verbs = {call.method.rpartition(".")[2] for call in gce.asked}
    assert verbs <= {"get", "list", "aggregatedList", "getFromFamily"} | EFFECTIVE


def test_independent_requests_of_setup_do_not_wait_for_one_another(run, gce):
    async def test(kit):
        gce.hold("machineTypes.aggregatedList")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kit.setup)
            await eventually(gce.faults.held.is_set)
            for method in ("networks.get", "routes.list", "projects.get"):
                await eventually(lambda method=method: gce.count(method) > 0)
            gce.release()

    run(test)


def test_type_without_spot_is_refused_if_nothing_else_may_be_bought(run, gce):
    gce.catalog.machine_types[METAL] = MachineType(METAL, 192, 768 << 10)
    said = refusal(run, UsageError, machine_type=METAL, market="spot")
    assert said == (
        f"market: {METAL} is not sold as spot, but as on-demand: choose another market or type"
    )
    made = plan(run, machine_type=[METAL, "n2-standard-2"])
    bought = [(offer.market, offer.type_name) for offer in made.offers]
    assert ("spot", METAL) not in bought
    assert ("on-demand", METAL) in bought


def test_type_without_on_demand_is_purchased_as_spot_alone(run, gce):
    gpus = ("nvidia-tesla-a100", 1)  # of a type that zones here have
    for name in ("a3-highgpu-1g", "a4-highgpu-8g", "a3-highgpu-8g"):
        gce.catalog.machine_types[name] = MachineType(name, 26, 234 << 10, gpu=gpus)
    made = plan(run, machine_type=["a3-highgpu-1g", "a4-highgpu-8g", "a3-highgpu-8g"])
    bought = [offer.type_name for offer in made.offers if offer.market == "on-demand"]
    assert bought == ["a3-highgpu-8g"]
    said = refusal(run, UsageError, machine_type="a3-highgpu-1g", market="on-demand")
    assert said.startswith("market: a3-highgpu-1g is not sold as on-demand, but as spot")


def test_key_of_another_region_is_refused(run, gce):
    ring = "projects/p/locations/{}/keyRings/r/cryptoKeys/k"
    for place in (REGION, "us", "global"):
        assert plan(run, kms_key=ring.format(place)).offers
    said = refusal(run, UsageError, kms_key=ring.format("europe-west3"))
    assert said.startswith("kms_key: ")
    assert f"is in europe-west3, and the machines in {REGION}" in said


@pytest.mark.parametrize(
    ("forbidden", "instead"),
    [
        ("forbids_external_addresses", {"public_address": False}),
        ("requires_shielded_vms", {"secure_boot": True}),
    ],
)
def test_policy_that_forbids_an_option_is_told_where_it_may_be_read(run, gce, forbidden, instead):
    setattr(gce.policies, forbidden, True)
    gce.routes.without_internet.clear()
    assert plan(run).offers  # these credentials may not read policies: the launch tells it
    gce.policies.may_be_read = True
    [option, value] = next(iter(instead.items()))
    said = refusal(run, UsageError)
    assert said.startswith(f"{option}: the organization's policy compute.")
    assert f"pass {option}={value}" in said
    assert plan(run, **instead).offers
    setattr(gce.policies, forbidden, False)
    assert plan(run).offers


@pytest.mark.parametrize(
    ("policy", "forbids"),
    [
        ({}, False),
        ({"booleanPolicy": {}}, False),
        ({"listPolicy": {"allValues": "ALLOW"}}, False),
        ({"listPolicy": {"deniedValues": ["projects/p/zones/z/instances/other"]}}, False),
        ({"listPolicy": {"allowedValues": ["under:organizations/1"]}}, False),
        ({"listPolicy": {"allowedValues": ["projects/p/zones/z/instances/bastion"]}}, True),
    ],
)
def test_policy_about_single_instances_is_understood(policy, forbids):
    assert _forbids(policy) == forbids


def test_custom_type_is_found_though_no_list_has_it(run, gce):
    name = "n2-custom-6-10240"
    gce.catalog.machine_types[name] = MachineType(name, 6, 10240)
    made = plan(run, machine_type=[name, "e2-standard-2"], zones=(), region=REGION)
    custom = made.offers[0].machine_type
    assert (custom.name, custom.vcpus, custom.series) == (name, 6, "n2")
    assert custom.zones == {f"{REGION}-{zone}" for zone in "abcf"}
    said = refusal(run, UsageError, machine_type="n2-custom-7-1")
    assert said.startswith("machine_type: no zone offers 'n2-custom-7-1' to this project")


@pytest.mark.parametrize(
    ("options", "allow"),
    [
        ({"network_tags": ["mine"], "allow": ()}, ()),
        ({"allow": ["10.0.0.0/8", ALLOW]}, ("10.0.0.0/8", ALLOW)),
    ],
)
def test_driver_is_let_in_as_the_options_say(run, gce, options, allow):
    assert plan(run, **options).allow == allow


def test_driver_in_the_network_is_let_in_by_its_own_address(run, gce, monkeypatch):
    monkeypatch.setattr(
        "bigmachine.system.cloud._driver_address.source_address", lambda host: "10.128.0.77"
    )
    gce.routes.without_internet.add("default")
    assert plan(run, allow=(), public_address=False).allow == ("10.128.0.77/32",)
    assert plan(run).offers  # external addresses are not needed to reach it
