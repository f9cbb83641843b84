"""What an instance is booted with, and where it has its disks."""

from __future__ import annotations

import base64
import gzip

import pytest
import trio

from bigmachine._identity import Authority
from bigmachine.errors import UsageError
from bigmachine_gcp import GcpOptions, _guest_setup
from bigmachine_gcp._guest_setup import GcpGuestSetup, data_names, guest_setup
from bigmachine_gcp._image import BootForm
from bigmachine_gcp._user_data import make_metadata
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


def test_only_the_holders_of_the_keys_may_log_in():
    given = metadata(BootForm.CLOUD_INIT, ssh_key=(KEY, OTHER))
    assert given["ssh-keys"] == f"bigmachine:{KEY}\nbigmachine:{OTHER}"
    assert given["enable-oslogin"] == "FALSE"  # it would ignore them
    assert LOGIN.items() <= given.items()
    many = tuple(f"{KEY}{number}" for number in range(4000))
    with pytest.raises(UsageError, match="ssh_key: the keys exceed 256 KiB together"):
        metadata(BootForm.CLOUD_INIT, ssh_key=many)


def test_disks_are_found_by_their_links(tmp_path, monkeypatch):
    monkeypatch.setattr(_guest_setup, "_LINKS", str(tmp_path))
    guest = guest_setup(GcpOptions(data_disk=100, data_volumes=2, local_disks=True))
    assert guest.volumes == data_names(2) == ("data-0", "data-1")
    assert guest.find_local_disks() == []
    for link, device in {
        "google-persistent-disk-0": "sda",
        "google-persistent-disk-0-part1": "sda1",
        "google-data-1": "sdb",
        "google-data-1-part1": "sdb1",
        "google-data-10": "sdc",
        "google-local-nvme-ssd-0": "nvme0n1",
        "google-local-nvme-ssd-10": "nvme0n11",
        "google-local-nvme-ssd-2": "nvme0n3",
        "google-local-nvme-ssd-0-part1": "nvme0n1p1",
        "nvme-nvme_card_nvme_card": "nvme0n1",
    }.items():
        (tmp_path / device).touch()
        (tmp_path / link).symlink_to(device)
    assert guest.attached_volumes() == {"data-1": f"{tmp_path}/sdb"}
    found = [f"{tmp_path}/{name}" for name in ("nvme0n1", "nvme0n3", "nvme0n11")]
    assert guest.find_local_disks() == found
    assert guest_setup(GcpOptions()).volumes == ()


def test_scsi_local_ssds_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(_guest_setup, "_LINKS", str(tmp_path))
    (tmp_path / "google-local-ssd-0").symlink_to("sdb")
    assert GcpGuestSetup().find_local_disks() == [f"{tmp_path}/sdb"]
    monkeypatch.setattr(_guest_setup, "_LINKS", "/nowhere")  # no udev
    assert GcpGuestSetup().find_local_disks() == []


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
