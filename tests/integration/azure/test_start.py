"""VMs are launched in the user's order, named and tagged on creation, and never twice."""

from __future__ import annotations

import base64
import gzip
import sys

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from bigmachine.errors import UsageError
from bigmachine_azure.guest._login import login_keys
from bigmachine_azure.launch._launch_specification import max_price
from bigmachine_azure.options._options import AzureOptions
from tests.support.azure.arm import LOCATION
from tests.support.azure.fixtures import SIZE

CREATE = "virtual_machines.create_or_update"
SPOT, ON_DEMAND = f"spot {SIZE} {LOCATION}", f"on-demand {SIZE} {LOCATION}"
OTHER = "Standard_D2as_v5"


def markets_of(instances):
    return [instance.details["market"] for instance in instances]


def bodies(arm):
    return [call.body for call in arm.calls(CREATE)]


# -- what is requested ----------------------------------------------------------------


def test_each_machine_is_requested_once_and_never_as_an_update(run, arm):
    async def test(kit):
        instances = await kit.start(3)
        assert [i.name for i in instances] == [f"m{i}.test-0123abcd.bigmachine" for i in range(3)]
        assert [i.id for i in instances] == [f"bm-test-0123abcd-m{i}" for i in range(3)]
        assert len({i.address for i in instances}) == 3
        assert all(i.address.endswith(":7443") for i in instances)
        assert set(markets_of(instances)) == {"spot"}
        calls = arm.calls(CREATE)
        assert sorted(call.name for call in calls) == [i.id for i in instances]
        assert {call.headers["if-none-match"] for call in calls} == {"*"}
        assert arm.count("virtual_machines.get") <= 3 + 9  # they are looked at together

    run(test)


def test_vm_takes_all_that_is_its_along_when_it_goes(run, arm):
    async def test(kit):
        await kit.start()
        [body] = bodies(arm)
        properties = body["properties"]
        assert properties["priority"] == "Spot"
        assert properties["evictionPolicy"] == "Delete"
        assert properties["billingProfile"] == {"maxPrice": -1}
        disks = properties["storageProfile"]
        assert disks["osDisk"]["deleteOption"] == "Delete"
        assert {disk["deleteOption"] for disk in disks["dataDisks"]} == {"Delete"}
        assert [(disk["lun"], disk["diskSizeGB"]) for disk in disks["dataDisks"]] == [
            (0, 34),
            (1, 34),
            (2, 34),
        ]
        [interface] = properties["networkProfile"]["networkInterfaceConfigurations"]
        assert interface["properties"]["deleteOption"] == "Delete"
        [of_ip] = interface["properties"]["ipConfigurations"]
        address = of_ip["properties"]["publicIPAddressConfiguration"]
        assert address["properties"]["deleteOption"] == "Delete"
        assert address["sku"]["name"] == "Standard"
        assert interface["tags"] == address["tags"] == body["tags"]
        group = interface["properties"]["networkSecurityGroup"]["id"]
        assert group.endswith("/networksecuritygroups/bm-test-0123abcd")

    run(test, data_disk=100, data_volumes=3, disk_type="Premium_LRS")


def test_all_resources_tell_whose_they_are_from_creation(run, arm, monkeypatch):
    monkeypatch.setenv("LOGNAME", "zoë")
    monkeypatch.setattr(sys, "argv", ["/home/train.py", "--secret", "hunter2"])

    async def test(kit):
        await kit.start()
        [body] = bodies(arm)
        tags = body["tags"]
        assert tags["bigmachine-session"] == "test-0123abcd.bigmachine"
        assert tags["bigmachine-machine"] == "m0"
        assert len(tags["bigmachine-request"]) == 32
        assert (tags["team"], tags["empty"]) == ("ml", "")
        assert tags["bigmachine-command"] == "train.py --secret"

    run(test, tags=["team=ml", "empty="])


def test_key_that_nobody_has_is_of_a_type_that_all_clouds_take():
    [key] = login_keys(AzureOptions())
    assert key.startswith("ssh-rsa ")
    assert load_ssh_public_key(key.encode()).key_size == 2048


def test_options_are_in_the_request(run, arm, tmp_path):
    key = tmp_path / "id.pub"
    key.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKx5J0zyv8m3S9H2l1FQvJYvNn7kSg8Q me\n")

    async def test(kit):
        [instance] = await kit.start()
        [body] = bodies(arm)
        properties = body["properties"]
        assert body["zones"] == ["2"]
        assert properties["priority"] == "Regular"
        assert "evictionPolicy" not in properties
        assert properties["storageProfile"]["osDisk"]["diskSizeGB"] == 64
        assert properties["diagnosticsProfile"] == {"bootDiagnostics": {"enabled": True}}
        assert instance.address.endswith(":443")
        profile = properties["osProfile"]
        linux = profile["linuxConfiguration"]
        assert linux["disablePasswordAuthentication"]
        assert [each["keyData"] for each in linux["ssh"]["publicKeys"]] == [key.read_text().strip()]
        script = base64.b64decode(profile["customData"])
        assert b"contact_seconds" in (gzip.decompress(script) if script[:1] == b"\x1f" else script)
        [interface] = properties["networkProfile"]["networkInterfaceConfigurations"]
        [of_ip] = interface["properties"]["ipConfigurations"]
        assert "publicIPAddressConfiguration" not in of_ip["properties"]

    options = {"port": 443, "public_address": False, "ssh_key": str(key)}
    run(test, market="on-demand", zones=["2"], disk=64, **options)


def test_key_that_azure_does_not_take_is_refused_before_anything_is_created(run, arm):
    async def test(kit):
        with pytest.raises(UsageError, match="ssh_key: Azure takes no keys of type ecdsa"):
            await kit.setup()
        assert arm.asked == []

    run(test, ssh_key="ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=")


@pytest.mark.parametrize(
    ("given", "sent"), [(None, -1), (0.1, 0.1), (0.1234567, 0.12345), (1e-9, 1e-05)]
)
def test_price_limit_has_five_decimals_and_is_never_rounded_up(given, sent):
    assert max_price(AzureOptions(max_price=given)) == sent
