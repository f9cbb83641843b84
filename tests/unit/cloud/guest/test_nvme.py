"""NVMe disks are asked who they are by the commands of the specification."""

from __future__ import annotations

import ctypes
import fcntl
import struct

import pytest

from bigmachine.cloud import NvmeDisk
from bigmachine.cloud.guest import _nvme


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A device whose driver knows the ioctls of <linux/nvme_ioctl.h>, and nothing else."""
    device = tmp_path / "nvme0n7"
    device.touch()

    def ioctl(fd, request, argument=0):
        if request == 0x4E40:  # _IO('N', 0x40): the number of the namespace
            return 7
        assert request == 3 << 30 | 72 << 16 | ord("N") << 8 | 0x41  # _IOWR: struct nvme_admin_cmd
        command = struct.unpack_from("=BBHIIIQQIII", argument)
        opcode, namespace, address, size, what = (command[i] for i in (0, 3, 7, 9, 10))
        assert (opcode, size) == (6, 4096)
        said = {(0, 7): b"the namespace", (1, 0): bytes(24) + b"a model".ljust(40)}
        ctypes.memmove(address, said[what, namespace].ljust(size, b"\0"), size)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return str(device)


def test_disk_tells_its_model_and_its_namespace(kernel):
    disk = NvmeDisk(kernel, _nvme._identify(kernel, 1))
    assert disk.model == "a model"
    assert disk.namespace() == b"the namespace".ljust(4096, b"\0")
    assert disk.namespace_id() == 7


def test_disk_that_is_gone_is_an_error(kernel):
    with pytest.raises(OSError, match="No such file"):
        NvmeDisk(f"{kernel}1", b"").namespace()
    with pytest.raises(OSError, match="No such file"):
        NvmeDisk(f"{kernel}1", b"").namespace_id()
