"""Machine types: the requested ones in order, or a default one that the zones have."""

from __future__ import annotations

import pytest

from bigmachine.errors import UsageError
from tests.integration.gcp.plans import plan, refusal

ZONES = ["us-central1-a", "us-central1-f"]


def test_types_are_tried_in_order_in_all_zones_and_on_both_markets(run, gce):
    made = plan(run, machine_type=["n2-standard-4", "c4a-standard-4"], zones=ZONES)
    assert [(o.market, o.type_name, o.zone) for o in made.offers] == [
        ("spot", "n2-standard-4", "us-central1-a"),
        ("spot", "n2-standard-4", "us-central1-f"),
        ("spot", "c4a-standard-4", "us-central1-a"),  # not offered in the other zone
        ("on-demand", "n2-standard-4", "us-central1-a"),
        ("on-demand", "n2-standard-4", "us-central1-f"),
        ("on-demand", "c4a-standard-4", "us-central1-a"),
    ]
    first, arm = made.offers[0].machine_type, made.offers[2].machine_type
    assert (first.vcpus, first.memory_bytes, first.architecture) == (4, 16 << 30, "X86_64")
    assert arm.architecture == "ARM64"
    assert str(first) == "n2-standard-4 (4 vCPUs, 16 GiB)"


def test_default_type_is_the_first_that_the_zones_have(run, gce):
    for expected in ("e2-standard-2", "n2-standard-2", "n2d-standard-2"):
        made = plan(run, machine_type=(), zones=ZONES)
        assert {offer.type_name for offer in made.offers} == {expected}
        gce.catalog.not_offered |= {(expected, zone) for zone in ZONES}
    gce.catalog.not_offered |= {("n1-standard-2", zone) for zone in ZONES}
    said = refusal(run, UsageError, machine_type=(), zones=ZONES)
    assert said.startswith("machine_type: no default type (e2-standard-2, n2-standard-2, n2d-sta")
    assert "is offered in us-central1-a, us-central1-f: name a type, or other zones" in said
    assert "`gcloud compute machine-types list --zones=us-central1-a,us-central1-f`" in said


def test_type_that_no_zone_has_is_refused(run, gce):
    said = refusal(run, UsageError, machine_type=["n2-standard-2", "n2-standrad-2"])
    assert said.startswith(
        "machine_type: no zone offers 'n2-standrad-2' to this project; did you mean "
        "'n2-standard-2'? List all with"
    )
    assert "`gcloud compute machine-types list --zones=us-central1-a`" in said


def test_type_missing_in_the_zone_says_where_it_is(run, gce):
    said = refusal(run, UsageError, machine_type="c4a-standard-2", zones=["us-central1-f"])
    assert said.startswith(
        "machine_type: c4a-standard-2 is not offered in us-central1-f, but in us-central1-a, "
        "us-central1-b, us-central1-c: name one of these zones, or another type"
    )


def test_type_missing_in_the_region_says_where_it_is(run, gce):
    zones = ["us-east1-b", "us-east1-c", "us-east1-d"]
    said = refusal(run, UsageError, machine_type="t2a-standard-2", zones=zones)
    assert "not offered in us-east1-b, us-east1-c, us-east1-d, but in europe-west4, us-ce" in said
    assert "name one of these regions, or another type" in said


@pytest.mark.parametrize(("state", "is_sold"), [("DEPRECATED", True), ("OBSOLETE", False)])
def test_deprecated_type_is_used_and_an_obsolete_one_is_not(run, gce, state, is_sold):
    gce.catalog.deprecated["n1-standard-2"] = state
    if is_sold:
        assert plan(run, machine_type="n1-standard-2").offers
    else:
        assert "no zone offers" in refusal(run, UsageError, machine_type="n1-standard-2")


def test_zone_that_cannot_be_reached_is_left_out(run, gce):
    gce.unreachable_zones.add("us-central1-f")
    made = plan(run, zones=ZONES)
    assert {offer.zone for offer in made.offers} == {"us-central1-a"}
