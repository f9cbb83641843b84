"""Networks: the default one, or the requested one with its subnetwork in the region."""

from __future__ import annotations

from bigmachine.errors import UsageError
from tests.integration.gcp.plans import plan, planning, refusal
from tests.support.gcp.errors import GceError
from tests.support.gcp.gce import PROJECT, REGION

DENIED = GceError(403, "forbidden", "Required 'compute.things.list' permission for 'projects/p'")
DEFAULT = f"projects/{PROJECT}/regions/{REGION}/subnetworks/default"


def test_default_network_is_used_with_its_subnetwork_of_the_region(run, gce):
    network = plan(run).network
    assert network.link == f"projects/{PROJECT}/global/networks/default"
    assert (network.project, network.name) == (PROJECT, "default")
    assert network.subnetwork == DEFAULT
    first, *others = network.blocks  # of all regions: a driver may be in any of them
    assert first == "10.128.0.0/20"
    assert sorted(others) == ["10.142.0.0/20", "10.164.0.0/20"]


BY_NAMES = [
    {"network": "lab"},
    {"network": f"projects/{PROJECT}/global/networks/lab"},
    {"subnetwork": "lab-us"},
    {"subnetwork": f"regions/{REGION}/subnetworks/lab-us"},
    {
        "network": f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/networks/lab",
        "subnetwork": f"projects/{PROJECT}/regions/{REGION}/subnetworks/lab-us",
    },
]
MISFITS = [
    (
        {"network": "lap"},
        (f"network: the project {PROJECT} has no network 'lap'", "`gcloud compute networks l"),
    ),
    (
        {"network": "two"},
        ("subnetwork: the network two has several in us-central1: name one of a, b",),
    ),
    (
        {"network": "elsewhere"},
        (
            "network: elsewhere has no subnetwork in us-central1, but in us-east1: name anoth",
            "`gcloud compute networks subnets create NAME --network=elsewhere --region=us-central1",
        ),
    ),
    ({"network": "empty"}, ("network: empty has no subnetwork in us-central1: name",)),
    (
        {"subnetwork": "far"},
        ("subnetwork: far is in us-east1, not in us-central1: name a subnetwork of us-cen",),
    ),
    (
        {"subnetwork": "regions/us-east1/subnetworks/far"},
        ("subnetwork: far is in us-east1, but the session in us-central1", "region='us-east1'"),
    ),
    (
        {"subnetwork": "lab"},
        (f"subnetwork: the project {PROJECT} has no subnetwork 'lab'; list all with `gcloud",),
    ),
    (
        {"subnetwork": "a", "network": "default"},
        ("subnetwork: a is in the network two, not in default: name a subnetwork of that ne",),
    ),
    (
        {"subnetwork": "proxies"},
        ("subnetwork: proxies is for REGIONAL_MANAGED_PROXY, not for instances",),
    ),
    (
        {"network": "cut-off"},
        (
            "network: cut-off has no route to the internet (0.0.0.0/0), so external addresses",
            "`gcloud compute routes create internet --network=cut-off",
            "or pass public_address=False",
        ),
    ),
]


def test_custom_network_is_found_by_its_own_name_or_its_subnetworks(run, gce):
    gce.networks.add("lab", mode="custom")
    gce.networks.add_subnetwork("lab-us", network="lab", region=REGION, block="10.9.0.0/24")

    async def test(planner):
        for options in BY_NAMES:
            network = (await planner.plan(**options)).network
            assert network.name == "lab"
            assert network.subnetwork == f"projects/{PROJECT}/regions/{REGION}/subnetworks/lab-us"
            assert network.blocks == ("10.9.0.0/24",)

    planning(run, test)


def test_network_that_does_not_fit_is_refused(run, gce):
    for name in ("two", "elsewhere", "empty"):
        gce.networks.add(name, mode="custom")
    for name in "ab":
        gce.networks.add_subnetwork(name, network="two", region=REGION, block="10.9.0.0/24")
    gce.networks.add_subnetwork("far", network="elsewhere", region="us-east1", block="10.8.0.0/24")
    gce.networks.add_subnetwork(
        "proxies",
        network="two",
        region=REGION,
        block="10.7.0.0/24",
        purpose="REGIONAL_MANAGED_PROXY",
    )
    gce.networks.add("cut-off")
    gce.routes.without_internet.add("cut-off")

    async def test(planner):
        for options, says in MISFITS:
            said = await planner.refusal(UsageError, **options)
            assert all(words in said for words in says), said

    planning(run, test)


def test_missing_default_network_says_what_to_name_or_create(run, gce):
    gce.networks.remove("default")
    said = refusal(run, UsageError)
    assert said.startswith(f"network: the project {PROJECT} has no network 'default': name another")
    assert f"`gcloud compute networks create default --project={PROJECT}`" in said


def test_ipv6_subnetwork_is_refused(run, gce):
    gce.edit("subnetworks.get", lambda answer: {**answer, "stackType": "IPV6_ONLY"})
    said = refusal(run, UsageError, subnetwork="default")
    assert said.startswith("subnetwork: default is IPv6 only, and machines need IPv4 addresses")


def test_without_public_addresses_no_route_is_needed(run, gce):
    gce.routes.without_internet.add("default")
    made = plan(run, public_address=False)
    assert made.network.subnetwork == DEFAULT
    assert not gce.count("routes.list")


def test_routes_that_may_not_be_read_are_ignored(run, gce):
    gce.routes.without_internet.add("default")
    gce.refuse_always("routes.list", DENIED)
    assert plan(run).offers


def test_shared_network_belongs_to_its_host_project(run, gce):
    gce.networks.add("shared", mode="custom", project="host-project")
    place = {"network": "shared", "region": REGION, "block": "10.9.0.0/24"}
    gce.networks.add_subnetwork("default", **place)
    gce.refuse_always("subnetworks.aggregatedList", DENIED)
    gce.refuse_always("routes.list", DENIED)
    subnetwork = f"projects/host-project/regions/{REGION}/subnetworks/default"
    network = plan(run, subnetwork=subnetwork).network
    assert network.project == "host-project"
    assert network.link == "projects/host-project/global/networks/shared"
    assert network.subnetwork == subnetwork
    assert network.blocks == ("10.9.0.0/24",)
    [call] = gce.calls("subnetworks.get")
    assert call.project == "host-project"
    said = refusal(run, UsageError, network="projects/host-project/global/networks/shared")
    assert said.startswith("subnetwork: these credentials may not list those of shared: name one")
