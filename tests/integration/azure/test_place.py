"""A session's location and resource group are found, or the error says what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from bigmachine.errors import UsageError
from bigmachine_azure.api._place import find_place
from tests.support.azure.arm import LOCATION, SUBSCRIPTION
from tests.support.azure.errors import ArmError
from tests.support.azure.fixtures import Kit


@pytest.fixture
def place(arm, use):
    """Return where a session goes, by its options."""

    def place(**options):
        given = {"location": "", **options}
        o = Kit(arm, **given).options
        return use(lambda api: find_place(api, o), **given)

    return place


def refused(place, **options):
    with pytest.raises(UsageError) as caught:
        place(**options)
    return str(caught.value)


def test_resource_group_is_named_by_the_location(arm, place):
    found = place(location="West Europe", zones=["3", "1"])
    assert (found.subscription, found.location, found.zones) == (SUBSCRIPTION, LOCATION, ("3", "1"))
    assert (found.resource_group, found.has_group) == ("bigmachine-westeurope", False)
    arm.groups.add("bigmachine-westeurope", location=LOCATION)
    assert place(location=LOCATION).has_group


def test_location_comes_from_option_then_az_then_resource_group(arm, place, monkeypatch):
    arm.groups.add("mine", location="eastus2")
    assert place(resource_group="mine").location == "eastus2"
    config = Path(arm_config(monkeypatch), "config")
    config.write_text("[defaults]\nlocation = northeurope\n")
    assert place(resource_group="mine").location == "northeurope"
    monkeypatch.setenv("AZURE_DEFAULTS_LOCATION", "eastus")
    assert place().location == "eastus"
    assert place(location=LOCATION).location == LOCATION


def arm_config(monkeypatch):
    """Return az's folder, made for this test."""
    import os

    folder = Path(os.environ["AZURE_CONFIG_DIR"])
    folder.mkdir()
    return folder


def test_location_must_be_known(place):
    text = refused(place)
    assert "location: set neither by the option nor by az's configuration; pass one, like" in text
    assert "pass one" in refused(place, resource_group="not-there-yet")


def test_unknown_location_is_refused_with_what_may_be_meant(place):
    text = refused(place, location="westeurop")
    assert "Azure has no location 'westeurop' for this subscription; did you mean 'weste" in text
    assert "`az account list-locations --output table`" in text


def test_zone_that_a_location_lacks_is_refused(place):
    text = refused(place, location=LOCATION, zones="4")
    assert "zones: the location 'westeurope' has no zone '4'; it has the zones 1, 2, 3" in text
    text = refused(place, location="westcentralus", zones="1")
    assert "zones: the location 'westcentralus' has no zone '1'; it has none: omit zones" in text


def test_group_of_locations_is_none(arm, place):
    def add(answer):
        europe = {**answer["value"][0], "name": "europe", "metadata": {"regionType": "Logical"}}
        return {"value": [*answer["value"], europe]}

    arm.edit("subscriptions.list_locations", add)
    assert "Azure has no location 'europe'" in refused(place, location="europe")


def test_role_on_the_resource_group_alone_is_enough(arm, place):
    arm.groups.add("mine", location=LOCATION)
    denied = ArmError(403, "AuthorizationFailed", "No authorization to perform action 'x'.")
    arm.refuse_always("subscriptions.list_locations", denied)
    assert place(resource_group="mine").has_group
