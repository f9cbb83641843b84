"""A session's region and zones are found where gcloud looks, and asked of Google."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from bigmachine.errors import UsageError
from bigmachine_gcp import GcpOptions
from bigmachine_gcp.api._api import Api
from bigmachine_gcp.api._place import find_place, requested_region
from tests.support.gcp.gce import PROJECT, REGION, ZONE


@pytest.fixture
def gcloud(gce, tmp_path):
    """The folder of gcloud's files, which is empty."""
    folder = tmp_path / "gcloud"
    (folder / "configurations").mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("options", "environ", "config", "region"),
    [
        ({"region": "europe-west4"}, {}, "", "europe-west4"),
        ({"zones": ("us-central1-b",)}, {}, "", "us-central1"),
        ({}, {"CLOUDSDK_COMPUTE_REGION": "us-east1"}, "[compute]\nregion = x", "us-east1"),
        ({}, {}, "[compute]\nregion = us-west1\nzone = us-east1-b", "us-west1"),
        ({}, {}, "[compute]\nzone = us-east1-b", "us-east1"),
        ({}, {"CLOUDSDK_COMPUTE_ZONE": "us-east4-c"}, "", "us-east4"),
        ({}, {}, "not an INI file", ""),
        ({}, {"CLOUDSDK_ACTIVE_CONFIG_NAME": "other"}, "[compute]\nregion = us-west1", ""),
    ],
)
def test_region_is_found(gcloud, monkeypatch, options, environ, config, region):
    (gcloud / "configurations/config_default").write_text(config)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert requested_region(GcpOptions(**options)) == region


def test_gcloud_folder_may_not_exist_or_be_unreadable(gcloud, monkeypatch):
    (gcloud / "active_config").mkdir()
    assert requested_region(GcpOptions()) == ""
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(Path("/nonexistent")))
    assert requested_region(GcpOptions()) == ""


def place(gce, **options):
    async def main():
        o = GcpOptions(endpoint_url=gce.url, **options)
        api = Api(o)
        try:
            return await find_place(api, o)
        finally:
            await api.close()

    return trio.run(main)


def test_place_has_the_zones_of_the_region_or_the_requested_ones(gce):
    found = place(gce, region=REGION)
    assert (found.project, found.region) == (PROJECT, REGION)
    assert ZONE in found.zones
    assert len(found.zones) > 2
    assert place(gce, zones=("us-central1-b", ZONE)).zones == ("us-central1-b", ZONE)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "region: set neither by the option nor by gcloud's configuration; pass one, like"),
        ({"region": "us-centrall1"}, "has no region 'us-centrall1' for the project 'bigmachine-t"),
        ({"region": "us-centrall1"}, "; did you mean 'us-central1'? List all with `gcloud comp"),
        (
            {"zones": ("us-central1-x",)},
            "zones: the region 'us-central1' has no zone 'us-central1-x",
        ),
        ({"zones": ("us-central1-x",)}, "it has us-central1-a, us-central1-b"),
    ],
)
def test_place_that_does_not_exist_is_an_error(gce, options, says):
    with pytest.raises(UsageError) as caught:
        place(gce, **options)
    assert says in str(caught.value)
