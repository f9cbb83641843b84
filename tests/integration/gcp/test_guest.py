"""What an instance is booted with, and where it has its disks."""

from __future__ import annotations

import base64
import errno
import gzip
from dataclasses import dataclass

import pytest
import trio

from bigmachine._identity import Authority
from bigmachine.cloud import NvmeDisk
from bigmachine.errors import UsageError
from bigmachine_gcp import GcpOptions
from bigmachine_gcp.catalog._images import BootForm
from bigmachine_gcp.guest import _disks
from bigmachine_gcp.guest._guest_setup import data_names, guest_setup
from bigmachine_gcp.guest._user_data import make_metadata
from tests.support.gcp.metadata import MetadataServer
from tests.support.public_keys import KEY, OTHER
from tests.support.vms.rig import boot_of

LOGIN = {"block-project-ssh-keys": "TRUE"}


def metadata(form: BootForm, **options) -> dict[str, str]:
    request = boot_of(Authority("test-0123abcd.bigmachine"))
    return dict(make_metadata(request, GcpOptions(**options), form))


def script(form: BootForm, **options) -> str:
    """Return the start-up script that the metadata hold."""
    given = metadata(form, **options)
    if form is BootForm.STARTUP_SCRIPT:
        return given["startup-script"]
    assert given["user-data-encoding"] == "base64"
    return gzip.decompress(base64.b64decode(given["user-data"])).decode()


@pytest.mark.parametrize("form", BootForm)
def test_metadata_boots_the_boot_program_by_the_images_way(form):
    keys = {
        BootForm.CLOUD_INIT: {"user-data", "user-data-encoding"},
        BootForm.STARTUP_SCRIPT: {"startup-script"},
    }
    given = metadata(form)
    assert given.keys() == keys[form] | LOGIN.keys()
    text = script(form, port=443, lifetime=3600.0)
    first = "#cloud-boothook" if form is BootForm.CLOUD_INIT else "#!/bin/sh"
    assert text.splitlines()[0] == first
    assert '"listen": "0.0.0.0:443"' in text
    assert '"lifetime_seconds": 3600.0' in text
    assert "delete.py" not in text  # without a service account there is no token


@pytest.mark.parametrize("form", BootForm)
def test_instance_with_a_service_account_deletes_itself(form):
    text = script(form, service_account="default", endpoint_url="http://10.0.0.1:80")
    assert "\nmain('http://10.0.0.1:80', 'http://169.254.169.254')\n" in text
    assert "ExecStopPost=-$python /run/bigmachine/delete.py\n" in text
    assert "main('https://compute.googleapis.com'" in script(form, service_account="default")


def test_that_disks_may_cost_money_is_told_once_in_a_session(run, caplog):
    async def test(kit):
        await kit.start()
        await kit.start()

    run(test)
    assert caplog.text.count("their disks cost money") == 1


def test_only_the_holders_of_the_keys_may_log_in():
    given = metadata(BootForm.CLOUD_INIT, ssh_key=(KEY, OTHER))
    assert given["ssh-keys"] == f"bigmachine:{KEY}\nbigmachine:{OTHER}"
    assert given["enable-oslogin"] == "FALSE"  # it would ignore them
    assert LOGIN.items() <= given.items()
    many = tuple(f"{KEY}{number}" for number in range(4000))
    with pytest.raises(UsageError, match="ssh_key: the keys exceed 256 KiB together"):
        metadata(BootForm.CLOUD_INIT, ssh_key=many)


@pytest.fixture
def links(tmp_path, monkeypatch):
    """Return a function that makes links to devices, as udev does; there are no others."""
    monkeypatch.setattr(_disks, "_LINKS", str(tmp_path))

    def make(**devices):
        for link, device in devices.items():
            (tmp_path / device).touch()
            (tmp_path / link).symlink_to(device)

    return lambda devices: make(**devices)


@dataclass(frozen=True)
class Nvme(NvmeDisk):
    """An NVMe disk whose namespace is identified by that text."""

    text: str = ""

    def namespace(self) -> bytes:
        if not self.text:
            raise OSError(errno.EINVAL, "Invalid argument")
        return bytes(384) + self.text.encode().ljust(4096 - 384, b"\0")


def nvme(device: str, model: str, text: str = "") -> Nvme:
    return Nvme(device, bytes(24) + model.encode().ljust(40) + bytes(4032), text)


def test_scsi_disks_are_found_by_their_links(links, tmp_path):
    guest = guest_setup(GcpOptions(data_disk=100, data_volumes=3, local_disks=True))
    assert guest.volumes == data_names(3) == ("data-0", "data-1", "data-2")
    links(
        {
            "google-persistent-disk-0": "sda",
            "google-data-1": "sdb",
            "google-data-1-part1": "sdb1",
            "google-data-10": "sdc",
            "scsi-0Google_PersistentDisk_data-2": "sdd",  # without Google's guest environment
            "google-local-ssd-10": "sde",
            "google-local-ssd-2": "sdf",
            "google-local-ssd-2-part1": "sdf1",
            "scsi-0Google_EphemeralDisk_local-ssd-2": "sdf",
        }
    )
    assert guest.attached_volumes() == {"data-1": f"{tmp_path}/sdb", "data-2": f"{tmp_path}/sdd"}
    assert guest.find_local_disks() == [f"{tmp_path}/sdf", f"{tmp_path}/sde"]
    assert guest_setup(GcpOptions()).volumes == ()


def test_nvme_disks_are_found_by_their_identity(links, tmp_path, monkeypatch):
    disks = [
        nvme("/dev/nvme0n1", "nvme_card-pd", '{"device_name":"persistent-disk-0"}'),
        nvme("/dev/nvme0n2", "nvme_card-pd", '{"device_name":"data-1","disk_type":"PERSISTENT"}'),
        nvme("/dev/nvme0n3", "nvme_card-pd"),  # which does not tell
        nvme("/dev/nvme1n1", "nvme_card"),
        nvme("/dev/nvme2n1", "nvme_card1"),
        nvme("/dev/nvme3n1", "Another"),
    ]
    monkeypatch.setattr(_disks, "nvme_disks", lambda: disks)
    links({"google-data-0": "nvme0n3"})
    guest = guest_setup(GcpOptions(data_disk=100, data_volumes=2))
    found = {"data-0": f"{tmp_path}/nvme0n3", "data-1": "/dev/nvme0n2"}
    assert guest.attached_volumes() == found
    assert guest.find_local_disks() == ["/dev/nvme1n1", "/dev/nvme2n1"]


def test_machine_without_data_disks_has_none(monkeypatch):
    monkeypatch.setattr(_disks, "_LINKS", "/nowhere")  # no udev
    guest = guest_setup(GcpOptions(data_disk=100, data_volumes=1))
    assert guest.attached_volumes() == {}
    assert guest.find_local_disks() == []


@pytest.mark.parametrize(
    ("external", "address"), [("203.0.113.9", "203.0.113.9"), ("", "10.128.0.7"), (None, "ADDRESS")]
)
def test_machine_prints_the_command_that_logs_in(external, address, capfd):
    async def main():
        async with MetadataServer().serving() as server:
            server.cloud.external_ip = external or ""
            url = "http://127.0.0.1:1" if external is None else server.url
            guest = guest_setup(GcpOptions(ssh_key=KEY))
            await trio.to_thread.run_sync(lambda: guest.apply(metadata_url=url))

    trio.run(main)
    assert capfd.readouterr().err == f"to log in: ssh bigmachine@{address}\n"
