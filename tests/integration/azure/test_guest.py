"""What a virtual machine is booted with, and where it has its disks."""

from __future__ import annotations

import base64
import errno
import functools
import gzip
import json
import time
from dataclasses import dataclass

import pytest
import trio

from bigmachine._identity import Authority
from bigmachine.cloud import GuestError, NvmeDisk
from bigmachine_azure import AzureOptions
from bigmachine_azure.guest import _disks, _guest_setup
from bigmachine_azure.guest._guest_setup import data_units, guest_setup
from bigmachine_azure.guest._login import SSH_USER
from bigmachine_azure.guest._user_data import make_custom_data
from tests.support.cloudbox import Azure, Response
from tests.support.metadata_server import MetadataServer
from tests.support.public_keys import KEY
from tests.support.vms.rig import boot_of

IDENTITY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/x/bigmachine"

# The ids of the virtual controllers, as Azure/azure-vm-utils knows them.
BOOT, DATA, MORE_DATA = (f"f8b3781{letter}-1e82-4818-a1c3-63d806ec15bb" for letter in "abc")
FIRST_GENERATION_BOOT, FIRST_GENERATION_TEMPORARY = (
    f"00000000-000{digit}-8899-0000-000000000000" for digit in "01"
)
REMOTE = "MSFT NVMe Accelerator v1.0"


def script(**options) -> str:
    """Return the start-up script that the custom data hold."""
    request = boot_of(Authority("test-0123abcd.bigmachine"))
    identity = options.pop("identity", "")
    data = make_custom_data(request, AzureOptions(**options), identity=identity)
    assert len(base64.b64decode(data)) < 16_384  # cloud-init decompresses it; Azure takes 64 KiB
    return gzip.decompress(base64.b64decode(data)).decode()


def test_custom_data_boots_the_boot_program():
    text = script(port=443, lifetime=3600.0)
    assert text.startswith("#cloud-boothook\n#!/bin/sh\n")
    assert '"listen": "0.0.0.0:443"' in text
    assert '"lifetime_seconds": 3600.0' in text
    assert "delete.py" not in text  # without an identity there is no token


def test_vm_with_an_identity_deletes_itself_and_powers_off_last():
    text = script(identity=IDENTITY, endpoint_url="https://10.0.0.1")
    assert "\nmain('https://10.0.0.1', 'https://management.azure.com/'," in text
    assert "ExecStopPost=-$python /run/bigmachine/delete.py\n" in text
    [line] = [line for line in text.splitlines() if line.startswith('{"session"')]
    first, *others = json.loads(line)["poweroff"]
    assert first == ["sh", "-c", "python3 /run/bigmachine/delete.py; false"]
    assert ["systemctl", "poweroff"] in others


@pytest.fixture
def scsi(tmp_path, monkeypatch):
    """Return a function that has the kernel know SCSI disks, by their controllers and units."""
    folder = tmp_path / "block"
    folder.mkdir()
    monkeypatch.setattr(_disks, "_BLOCK_DEVICES", str(folder))

    def attach(disks):
        for name, (controller, unit) in disks.items():
            bus = tmp_path / "LNXSYSTM:00" / "VMBUS:01" / controller
            device = bus / "host1" / "target1:0:0" / f"1:0:0:{unit}"
            device.mkdir(parents=True)
            (bus / "device_id").write_text(f"{{{controller}}}\n")
            (folder / name).mkdir()
            (folder / name / "device").symlink_to(device)

    return attach


@dataclass(frozen=True)
class Nvme(NvmeDisk):
    """An NVMe disk, and what its host says of the namespace."""

    number: int = 1
    text: str = ""

    def namespace(self) -> bytes:
        if self.number < 0:
            raise OSError(errno.EINVAL, "Invalid argument")
        return bytes(384) + self.text.encode().ljust(4096 - 384, b"\0")

    def namespace_id(self) -> int:
        return self.number


def nvme(device: str, model: str, number: int = 1, text: str = "") -> Nvme:
    return Nvme(device, bytes(24) + model.encode().ljust(40) + bytes(4032), number, text)


@pytest.fixture
def nvme_disks(monkeypatch):
    """NVMe disks that the machine has: none, until a test adds some."""
    disks = []
    monkeypatch.setattr(_disks, "nvme_disks", lambda: disks)
    return disks


def test_scsi_disks_are_found_by_their_controllers_and_units(scsi, nvme_disks):
    guest = guest_setup(AzureOptions(data_disk=100, data_volumes=4, local_disks=True))
    assert guest.volumes == data_units(4) == ("0", "1", "2", "3")
    scsi(
        {
            "sda": (BOOT, 0),
            "sdb": (BOOT, 1),
            "sdc": (DATA, 1),
            "sdd": (MORE_DATA, 2),
            "sde": (DATA, 12),
            "sdaa": (DATA, 0),
        }
    )
    assert guest.attached_volumes() == {"0": "/dev/sdaa", "1": "/dev/sdc", "2": "/dev/sdd"}
    assert guest.find_local_disks() == ["/dev/sdb"]
    assert guest_setup(AzureOptions()).volumes == ()


def test_first_generation_has_its_temporary_disk_on_a_controller_of_its_own(scsi, nvme_disks):
    scsi(
        {
            "sda": (FIRST_GENERATION_BOOT, 0),
            "sdb": (FIRST_GENERATION_TEMPORARY, 0),
            "sdc": (DATA, 0),
        }
    )
    guest = guest_setup(AzureOptions(data_disk=100, data_volumes=1, local_disks=True))
    assert guest.attached_volumes() == {"0": "/dev/sdc"}
    assert guest.find_local_disks() == ["/dev/sdb"]


def test_remote_nvme_disks_are_found_by_their_namespaces(scsi, nvme_disks):
    nvme_disks += [
        nvme("/dev/nvme0n1", REMOTE, 1),
        nvme("/dev/nvme0n2", REMOTE, 3),
        nvme("/dev/nvme0n3", REMOTE, 2),
        nvme("/dev/nvme0n4", REMOTE, -1),  # it is being detached
        nvme("/dev/nvme9n1", "Another", 5),
    ]
    guest = guest_setup(AzureOptions(data_disk=100, data_volumes=4))
    assert guest.attached_volumes() == {"0": "/dev/nvme0n3", "1": "/dev/nvme0n2"}


def test_what_the_host_says_of_a_namespace_counts_more_than_its_number(scsi, nvme_disks):
    nvme_disks += [
        nvme("/dev/nvme0n1", REMOTE, 5, "type=os"),
        nvme("/dev/nvme0n2", REMOTE, 9, "type=data,lun=1,name=data-db"),
    ]
    guest = guest_setup(AzureOptions(data_disk=100, data_volumes=4))
    assert guest.attached_volumes() == {"1": "/dev/nvme0n2"}


def test_nvme_disks_of_the_host_are_preferred_to_a_slow_one_on_scsi(scsi, nvme_disks):
    scsi({"sda": (BOOT, 0), "sdb": (BOOT, 1)})
    nvme_disks += [
        nvme("/dev/nvme0n1", "Microsoft NVMe Direct Disk"),
        nvme("/dev/nvme1n1", "Microsoft NVMe Direct Disk v2", 1, "type=local,index=1,name=nvme-1"),
    ]
    guest = guest_setup(AzureOptions(local_disks=True))
    assert guest.find_local_disks() == ["/dev/nvme0n1", "/dev/nvme1n1"]
    assert guest.attached_volumes() == {}


def test_machine_without_data_disks_has_none(scsi, nvme_disks):
    guest = guest_setup(AzureOptions(data_disk=100, data_volumes=1, local_disks=True))
    assert guest.attached_volumes() == {}
    assert guest.find_local_disks() == []


@pytest.fixture
def cloud_init(tmp_path, monkeypatch):
    """Return a function that has cloud-init be in a stage."""
    path = tmp_path / "status.json"
    monkeypatch.setattr(_disks, "_CLOUD_INIT", str(path))
    monkeypatch.setattr(_disks, "_POLL_SECONDS", 0.01)

    def be(finished):
        path.write_text(json.dumps({"v1": {"init": {"finished": finished}, "stage": "init"}}))

    return be


@pytest.mark.parametrize("local_disks", [False, True])
def test_disks_are_used_when_cloud_init_has_mounted_its_own(cloud_init, monkeypatch, local_disks):
    emptied = []
    monkeypatch.setattr(_disks, "find_local_disks", lambda: ["/dev/sdb"])
    monkeypatch.setattr(
        _guest_setup, "empty_disk", lambda device, *, deadline: emptied.append(device)
    )
    polls = []

    def sleep(seconds):
        polls.append(emptied == [])
        cloud_init(None if len(polls) < 3 else 1.5)

    monkeypatch.setattr(_disks.time, "sleep", sleep)
    cloud_init(None)
    guest = guest_setup(AzureOptions(data_disk=100, local_disks=local_disks))
    guest.prepare_disks(deadline=time.monotonic() + 60)
    assert polls == [True] * 3
    assert emptied == ["/dev/sdb"] * local_disks


@pytest.mark.parametrize("text", [None, "", "[]", '{"v1": {}}'])
def test_image_without_that_cloud_init_is_not_waited_for(cloud_init, tmp_path, text, monkeypatch):
    if text is not None:
        (tmp_path / "status.json").write_text(text)
    monkeypatch.setattr(_disks.time, "sleep", pytest.fail)
    guest_setup(AzureOptions()).prepare_disks(deadline=time.monotonic() + 60)


def test_cloud_init_that_hangs_is_not_waited_for_for_ever(cloud_init, scsi, nvme_disks):
    cloud_init(None)
    guest = guest_setup(AzureOptions(local_disks=True))
    guest.prepare_disks(deadline=time.monotonic() + 0.05)
    with pytest.raises(GuestError, match="the machine has no local disk"):
        guest._mount_data(deadline=time.monotonic() + 0.05)


def test_unreadable_address_does_not_hold_up_the_machine(monkeypatch):
    async def main(**faults):
        async with MetadataServer(Azure(), **faults).serving() as server:
            guest = guest_setup(AzureOptions(ssh_key=KEY))
            return await trio.to_thread.run_sync(guest.address, server.url)

    assert trio.run(functools.partial(main, status=403)) == ""
    monkeypatch.setattr("bigmachine.cloud.guest._guest_setup._ADDRESS_SECONDS", 0.05)
    assert trio.run(functools.partial(main, status=410)) == ""
    monkeypatch.setattr(Azure, "answer", strange)
    assert trio.run(main) == ""


async def strange(cloud, request, host):
    if "loadbalancer" in request.path:
        return Response.of_json({"loadbalancer": []})
    return Response(404)


@pytest.mark.parametrize(
    ("public", "address"), [("203.0.113.9", "203.0.113.9"), ("", "10.128.0.7"), (None, "ADDRESS")]
)
def test_machine_prints_the_command_that_logs_in(public, address, capfd):
    async def main():
        async with MetadataServer(Azure(public_address=public or "")).serving() as server:
            url = "http://127.0.0.1:1" if public is None else server.url
            guest = guest_setup(AzureOptions(ssh_key=KEY))
            await trio.to_thread.run_sync(lambda: guest.apply(metadata_url=url))

    trio.run(main)
    assert capfd.readouterr().err == f"to log in: ssh {SSH_USER}@{address}\n"
