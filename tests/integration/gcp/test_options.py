"""Bad options of ``gcp`` are refused before Google is asked, with what to write instead."""

from __future__ import annotations

import pytest

from bigmachine.errors import UsageError
from bigmachine.system._options import resolve_options
from bigmachine_gcp import GcpOptions
from bigmachine_gcp.options._options import check_offline

FAMILY = "projects/debian-cloud/global/images/family/debian-13"


def checked(**options):
    o = resolve_options(GcpOptions, system_name="gcp", keywords=options)
    check_offline(o)
    return o


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"project": "My Project"}, "project: must be a project's ID, like 'my-project-123456'"),
        ({"project": "projects/my-project"}, "must be the project's ID alone: 'my-project', not"),
        ({"region": "us-central1-a"}, "region: must be a region, not a zone: 'us-central1', not"),
        ({"region": "us-central1-a"}, "for one zone alone, pass zones='us-central1-a'"),
        ({"region": "us-east-1"}, "like 'europe-west3', not 'us-east-1', which is a place of AWS"),
        ({"region": "eu"}, "region: must be the name of a region, like 'europe-west3', not 'eu'"),
        ({"zones": "us-central1"}, "zones: must be zones, like 'us-central1-a', not a region: pa"),
        ({"zones": "us-east-1a"}, "not 'us-east-1a', which is a place of AWS"),
        (
            {"zones": ["us-central1-a", "us-east1-b"]},
            "zones: must be of one region, not of us-central1 and us-east1: a session is in one",
        ),
        (
            {"region": "us-east1", "zones": ["us-central1-a"]},
            "region: does not contain the zone 'us-central1-a': omit region, or pass other zones",
        ),
        ({"region": " US-Central1"}, "', not ' US-Central1'; did you mean 'us-central1'?"),
        ({"zones": "US_CENTRAL1_A"}, "', not 'US_CENTRAL1_A'; did you mean 'us-central1-a'?"),
        (
            {"zones": "us-central1-a, us-central1-b"},
            "zones: must be one name each: pass zones=['us-central1-a', 'us-central1-b']",
        ),
        (
            {"machine_type": "n2-standard-2,e2-medium"},
            "machine_type: must be one name each: pass machine_type=['n2-standard-2', 'e2-medium']",
        ),
        (
            {"machine_type": "Standard_D2s_v5"},
            "must be a type of Google, like 'n2-standard-4', not o",
        ),
        ({"machine_type": ""}, "machine_type: must name a type"),
        (
            {"machine_type": "c7i.large"},
            "must be a type of Google, like 'n2-standard-4', not of AWS",
        ),
        (
            {"machine_type": "zones/us-central1-a/machineTypes/n2-standard-4"},
            "machine_type: must be the type's name alone: 'n2-standard-4', not",
        ),
        ({"machine_type": "N2-STANDARD-4"}, "machine_type: must be machine types, like 'n2-stand"),
        ({"accelerator": "T4"}, "accelerator: must be a type, like 'nvidia-tesla-t4', or with a n"),
        ({"accelerator": "nvidia-tesla-t4:0"}, "accelerator: must be a type"),
        ({"image": "ami-0123"}, "image: must be projects/PROJECT/global/images/NAME or …/images/"),
        ({"image": "debian-cloud/debian-13"}, f"for a family, pass '{FAMILY}'"),
        ({"image": "debian-13"}, f"not 'debian-13': for a family, pass '{FAMILY}'"),
        ({"image": "family/debian-13"}, f"for a family, pass '{FAMILY}'"),
        ({"image": "mine-1"}, "not 'mine-1': for one of your project, pass 'global/images/mine-1'"),
        ({"image": "family/mine"}, "for one of your project, pass 'global/images/family/mine'"),
        ({"disk": 9}, "disk: must be 10 to 65536 GiB"),
        ({"disk_type": "pd balanced"}, "disk_type: must be a disk type, like 'pd-balanced', not"),
        ({"data_disk": 39}, "data_disk: must be 40 to 262144 GiB on 4 volumes, or 0 for none"),
        ({"data_volumes": 16}, "data_volumes: must be 1 to 15"),
        ({"network": "My Net"}, "network: must be a network's name, or projects/HOST/global/netw"),
        ({"network": "projects/p/global/images/x"}, "network: must be a network's name"),
        ({"subnetwork": "10.0.0.0/8"}, "subnetwork: must be a subnetwork's name, or projects/H"),
        ({"network_tags": ["Web"]}, "network_tags: must have 1 to 63 lowercase letters, digits a"),
        ({"network_tags": [f"t{i}" for i in range(64)]}, "network_tags: must be at most 63"),
        (
            {"network_tags": ["web"], "allow": ["10.0.0.0/8"]},
            "allow: is for the session's own firewall rule, but network_tags are given",
        ),
        ({"service_account": "me"}, "service_account: must be a service account's e-mail address"),
        (
            {"service_account": "serviceAccount:a@b.iam.gserviceaccount.com"},
            "service_account: must",
        ),
        (
            {"service_account": "key.json"},
            "not a key: for the driver's own credentials, set GOOGLE_APPLICATION_CREDENTIALS to",
        ),
        ({"scopes": (), "service_account": "default"}, "scopes: must be at least one, or machines"),
        (
            {"scopes": ["http://x"], "service_account": "default"},
            "scopes: must be scopes, like 'devstorage.read_only', or URLs in https://www.googleapis.",
        ),
        ({"scopes": ["gke-default"], "service_account": "default"}, ", not 'gke-default'"),
        ({"scopes": ["compute"]}, "scopes: are of the service account: set service_account, or o"),
        ({"labels": ["team"]}, "labels: must be KEY=VALUE, not 'team'"),
        ({"labels": ["=x"]}, "labels: must be KEY=VALUE, not '=x'"),
        ({"labels": ["Team=x"]}, "labels: keys begin with a lowercase letter and have at most 63"),
        ({"labels": ["1team=x"]}, "labels: keys begin with a lowercase letter"),
        ({"labels": ["my.team=x"]}, "labels: keys begin with a lowercase letter"),
        ({"labels": ["team=X"]}, "labels: values have at most 63 lowercase letters, digits, hyph"),
        ({"labels": ["team=" + "x" * 64]}, "labels: values have at most 63 lowercase letters"),
        ({"labels": ["a=1", "a=2"]}, "labels: must not have a key twice"),
        ({"labels": ["bigmachine-session=x"]}, "labels: must not set 'bigmachine-session', which"),
        ({"labels": ["goog-x=x"]}, "labels: must not set 'goog-x', which is reserved"),
        ({"labels": [f"k{i}=v" for i in range(61)]}, "labels: must be at most 60"),
        ({"port": 22}, "port: is ssh's own port: choose another"),
        ({"endpoint_url": "localhost:8080"}, "endpoint_url: must begin with http:// or https://"),
        (
            {"market": "on-demand", "max_price": 0.1},
            "max_price: is for spot instances, but market is 'on-demand': omit one of them",
        ),
        (
            {"kms_key": "alias/mine"},
            "kms_key: must be projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY, as",
        ),
    ],
)
def test_bad_option_is_refused_with_what_to_write_instead(options, says):
    with pytest.raises(UsageError) as caught:
        checked(**options)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"project": "example.com:my-project", "region": "northamerica-northeast1"},
        {"project": "123456789012", "zones": ["us-central1-ai1a"], "region": "us-central1"},
        {
            "machine_type": [
                "n2-custom-4-8192",
                "custom-4-8192",
                "a3-highgpu-8g",
                "c4-standard-4-lssd",
            ]
        },
        {"accelerator": "nvidia-tesla-t4:2"},
        {"image": FAMILY},
        {"image": "global/images/mine"},
        {"image": f"https://www.googleapis.com/compute/v1/{FAMILY}"},
        {"image": f"https://compute.googleapis.com/compute/v1/{FAMILY}"},
        {"image": "projects/example.com:p/global/images/mine-1"},
        {"network": "projects/host/global/networks/shared", "subnetwork": "default"},
        {"subnetwork": "projects/host/regions/us-central1/subnetworks/mine"},
        {"subnetwork": "https://www.googleapis.com/compute/v1/projects/h/regions/r/subnetworks/s"},
        {"service_account": "default", "scopes": ["compute", "devstorage.read_only"]},
        {"service_account": "123-compute@developer.gserviceaccount.com"},
        {"labels": ["équipe=données", "env=", "a_b-c=1-2_3"]},
        {"network_tags": ["web", "a-1"]},
    ],
    ids=str,
)
def test_valid_options_are_accepted(options):
    checked(**options)


def test_options_are_given_as_the_api_takes_them():
    o = checked(
        machine_type=["n2-standard-4", "e2-standard-4", "n2-standard-4"],
        zones="us-central1-a",
        accelerator="nvidia-tesla-t4:2",
        service_account="default",
        scopes=["compute", "https://www.googleapis.com/auth/cloud-platform", "storage-ro"],
        labels=["team=ml", "env="],
    )
    assert o.machine_types == ("n2-standard-4", "e2-standard-4")
    assert o.zone_names == ("us-central1-a",)
    assert (o.accelerator_type, o.accelerator_count) == ("nvidia-tesla-t4", 2)
    assert o.scope_urls == (
        "https://www.googleapis.com/auth/compute",
        "https://www.googleapis.com/auth/cloud-platform",
        "https://www.googleapis.com/auth/devstorage.read_only",  # gcloud's name is another
    )
    assert o.own_labels == {"team": "ml", "env": ""}
    assert (checked().accelerator_type, checked().accelerator_count) == ("", 0)
    assert checked(accelerator="nvidia-tesla-t4").accelerator_count == 1
