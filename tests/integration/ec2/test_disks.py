"""EBS volumes are found by the names they were attached under, local disks by their model."""

from __future__ import annotations

import os
import struct

import pytest

from bigmachine.cloud import NvmeDisk
from bigmachine_ec2.guest import _disks
from bigmachine_ec2.guest._disks import volume_name


def disk(model: str, name: bytes, device: str = "") -> NvmeDisk:
    """Return an NVMe disk, with the identity of its controller as AWS's ebsnvme-id reads it."""
    fields = struct.pack("<HH20s40s", 0x1D0F, 0x1D0F, b"vol0123", model.ljust(40).encode())
    return NvmeDisk(device, fields.ljust(3072, b"\0") + name.ljust(1024, b"\0"))


@pytest.mark.parametrize("said", [b"sdf", b"/dev/sdf", b"xvdf", b"/dev/sdf".ljust(32)])
def test_ebs_volume_is_found_by_its_attachment_name(said):
    assert volume_name(disk("Amazon Elastic Block Store", said)) == "/dev/sdf"


def test_instance_store_is_not_an_ebs_volume():
    assert volume_name(disk("Amazon EC2 NVMe Instance Storage", b"sdf")) is None


def test_local_disks_are_found_by_their_model(monkeypatch):
    models = ("Amazon Elastic Block Store", *["Amazon EC2 NVMe Instance Storage"] * 2, "Another")
    disks = [disk(model, b"sdf", f"/dev/nvme{n}n1") for n, model in enumerate(models)]
    monkeypatch.setattr(_disks, "nvme_disks", lambda: disks)
    assert _disks.find_local_disks() == ["/dev/nvme1n1", "/dev/nvme2n1"]
    assert _disks.find_volumes(["/dev/sdf", "/dev/sdzz"]) == {"/dev/sdf": "/dev/nvme0n1"}


def test_xen_volume_is_found_by_its_letter(tmp_path, monkeypatch):
    (tmp_path / "xvdf").touch()
    assert _disks._xen_volume(f"{tmp_path}/sdf") is None
    real = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/xvdf" or real(path))
    assert _disks.find_volumes(["/dev/sdf", "/dev/sdzz"]) == {"/dev/sdf": "/dev/xvdf"}
