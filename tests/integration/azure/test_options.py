"""Bad options of ``azure`` are refused before Azure is asked, with what to write instead."""

from __future__ import annotations

import pytest

from bigmachine.errors import UsageError
from bigmachine.system._options import resolve_options
from bigmachine_azure import AzureOptions
from bigmachine_azure.options._options import check_offline

ID = "12345678-1234-1234-1234-123456789abc"
GROUP = f"/subscriptions/{ID}/resourceGroups/mine"
IMAGE = f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0"


def checked(**options):
    o = resolve_options(AzureOptions, system_name="azure", keywords=options)
    check_offline(o)
    return o


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"subscription": f"/subscriptions/{ID}"}, f"must be the ID alone: '{ID}', not"),
        ({"subscription": " mine"}, "must be a subscription's ID or name, not ' mine'"),
        ({"location": "us-east-1"}, "'us-east-1', which is a place of AWS"),
        ({"location": "europe-west3"}, "'europe-west3', which is a place of Google"),
        ({"location": "westeurope-1"}, "pass location='westeurope', zones='1'"),
        ({"location": "west_europe"}, "did you mean 'westeurope'?"),
        ({"location": "westeurope,northeurope"}, "location: must be one region"),
        ({"resource_group": f"{GROUP}"}, "must be the group's name alone: 'mine', not"),
        ({"resource_group": "mine."}, "and not end with a period, not 'mine.'"),
        ({"resource_group": "my group"}, "resource_group: must have at most 90 letters"),
        ({"resource_group": "x" * 91}, "resource_group: must have at most 90 letters"),
        ({"zones": "westeurope-2"}, "must be a zone's number, like '1', not 'westeurope-2'; did"),
        ({"zones": "1,2"}, "zones: must be one name each: pass zones=['1', '2']"),
        ({"zones": ["1", "a"]}, "must be a zone's number, like '1', not 'a'"),
        ({"vm_size": "m5.large"}, "must be a size of Azure, like 'Standard_D2s_v5', not of AWS"),
        ({"vm_size": "n2-standard-4"}, "like 'Standard_D2s_v5', not of Google: 'n2-standard-4'"),
        ({"vm_size": "D2s_v5"}, "not 'D2s_v5'; did you mean 'Standard_D2s_v5'?"),
        ({"vm_size": "Standard D2s v5"}, "did you mean 'Standard_D2s_v5'?"),
        ({"vm_size": "Standard_D2s_v5,Standard_D4s_v5"}, "must be one name each: pass vm_size=['"),
        ({"vm_size": ["Standard_D2s_v5", ""]}, "vm_size: must name a size"),
        ({"image": "ami-12345678"}, "must be PUBLISHER:OFFER:SKU:VERSION, or an image's ID"),
        ({"image": "Ubuntu2204"}, "`az vm image list --all --publisher Canonical --output table`"),
        ({"image": "debian-13"}, "`az vm image list --all --publisher Debian --output table`"),
        ({"image": "Debian:debian-12:12-gen2"}, "did you mean 'Debian:debian-12:12-gen2:latest'?"),
        ({"image": f"{GROUP}/providers/Microsoft.Compute/disks/d"}, "image: must be PUBLISHER"),
        ({"disk": 0}, "disk: must be 1 to 4095 GiB, as Azure's OS disks"),
        ({"disk": 5000}, "disk: must be 1 to 4095 GiB, as Azure's OS disks"),
        ({"disk_type": "gp3"}, "disk_type: must be one of Standard_LRS, "),
        ({"disk_type": "premium-lrs"}, "did you mean 'Premium_LRS'?"),
        ({"disk_type": "StandardSSD"}, "did you mean 'StandardSSD_LRS'?"),
        ({"network": "my network"}, "network: must have at most 80 letters"),
        (
            {"network": f"{GROUP}/providers/Microsoft.Network/networkSecurityGroups/x"},
            "an ID like /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Network/virt",
        ),
        (
            {"subnet": f"{GROUP}/providers/Microsoft.Network/virtualNetworks/v/subnets/machines"},
            "subnet: must be a name alone, like 'machines', not",
        ),
        ({"security_group": "sg/1"}, "security_group: must be a name, or an ID like"),
        ({"identity": "me@example.com"}, "identity: must have at most 80 letters"),
        ({"allow": ["10.0.0.0/8"], "security_group": "mine"}, "but security_group is given"),
        ({"endpoint_url": "http://localhost:1"}, "endpoint_url: must begin with https://"),
        ({"tags": ["team"]}, "tags: must be KEY=VALUE, not 'team'"),
        ({"tags": ["=x"]}, "tags: must be KEY=VALUE, not '=x'"),
        ({"tags": ["Team=a", "team=b"]}, "must not have a key twice; capitals make no difference"),
        (
            {"tags": ["bigmachine-session=x"]},
            "must not set 'bigmachine-session', which is reserved",
        ),
        ({"tags": ["Azure-x=1"]}, "must not set 'Azure-x': Azure reserves the prefixes"),
        ({"tags": ["a/b=1"]}, "keys have at most 512 characters, none of <>%&\\?/, not 'a/b'"),
        ({"tags": [f"{'k' * 513}=1"]}, "keys have at most 512 characters"),
        ({"tags": [f"k={'v' * 257}"]}, "values have at most 256 characters, not 257: that of 'k'"),
        ({"tags": [f"k{i}=" for i in range(39)]}, "tags: must be at most 38"),
        ({"region": "westeurope"}, "location"),
        ({"subscription_id": ID}, "subscription"),
        ({"instance_type": "Standard_D2s_v5"}, "vm_size"),
    ],
)
def test_bad_option_is_refused_with_what_to_write(options, says):
    with pytest.raises(UsageError) as caught:
        checked(**options)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"subscription": ID},
        {"subscription": "Pay-As-You-Go (1)"},
        {"location": "eastus2euap"},
        {"resource_group": "My_group-(1).x"},
        {"zones": ["1", "3"]},
        {"vm_size": ["standard_d2s_v5", "Standard_NC4as_T4_v3", "Standard_M8-2ms", "Basic_A1"]},
        {"vm_size": "Standard_ND96isr_H100_v5"},
        {"image": "Canonical:ubuntu-24_04-lts:server:latest"},
        {"image": IMAGE},
        {"image": "/communityGalleries/x-1/images/y/versions/latest"},
        {"disk_type": "Premium_ZRS"},
        {"network": f"{GROUP}/providers/microsoft.network/virtualnetworks/v", "subnet": "a_b"},
        {"tags": ["team=", "cost center=a:b=c", "Ä=ö"]},
    ],
)
def test_good_option_is_accepted(options):
    checked(**options)


def test_location_may_be_written_as_the_portal_shows_it():
    assert checked(location="West Europe").requested_location == "westeurope"


def test_each_size_and_zone_counts_once():
    o = checked(vm_size=["Standard_D2s_v5"] * 2, zones=["2", "1", "2"])
    assert (o.vm_sizes, o.zone_names) == (("Standard_D2s_v5",), ("2", "1"))
