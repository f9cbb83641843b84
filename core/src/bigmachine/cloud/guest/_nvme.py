"""NVMe disks, and what they say of themselves: clouds tell there which disk is which."""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import re
import struct
from dataclasses import dataclass, field

# NVM Express Base Specification 1.4: the command Identify, figures 244, 245 and 247; and
# nvme_admin_cmd and the ioctls of <linux/nvme_ioctl.h>.
_IDENTIFY = 0x06
_OF_NAMESPACE, _OF_CONTROLLER = 0, 1
_ADMIN_COMMAND = struct.Struct("<BBHIIIQQIIIIIIIIII")
_NVME_IOCTL_ID, _NVME_IOCTL_ADMIN_CMD = 0x4E40, 0xC0484E41
_BYTES = 4096
_MODEL = slice(24, 64)


@dataclass(frozen=True, slots=True)
class NvmeDisk:
    """An NVMe disk: its block device, and the 4096 bytes that identify its controller."""

    device: str
    controller: bytes = field(repr=False)

    @property
    def model(self) -> str:
        """The model that its controller names."""
        return self.controller[_MODEL].strip(b"\0 ").decode("ascii", "replace")

    def namespace(self) -> bytes:
        """Return the 4096 bytes that identify the namespace. Raises `OSError`."""
        return _identify(self.device, _OF_NAMESPACE)

    def namespace_id(self) -> int:
        """Return the namespace's number, from 1. Raises `OSError`."""
        fd = os.open(self.device, os.O_RDONLY)
        try:
            return _namespace_id(fd)
        finally:
            os.close(fd)


def nvme_disks() -> list[NvmeDisk]:
    """Return the machine's NVMe disks, in the order of their devices."""
    found = []
    for device in sorted(glob.glob("/dev/nvme*n*"), key=lambda device: (len(device), device)):
        if re.fullmatch(r"/dev/nvme\d+n\d+", device):
            with contextlib.suppress(OSError):  # it is being attached, or does not support this
                found.append(NvmeDisk(device, _identify(device, _OF_CONTROLLER)))
    return found


def _identify(device: str, what: int) -> bytes:
    import fcntl  # which not every driver has

    identity = ctypes.create_string_buffer(_BYTES)
    fd = os.open(device, os.O_RDONLY)
    try:
        namespace = _namespace_id(fd) if what == _OF_NAMESPACE else 0
        # opcode, flags, reserved, namespace, cdw2, cdw3, metadata, address, and so on
        head = (_IDENTIFY, 0, 0, namespace, 0, 0, 0, ctypes.addressof(identity), 0, _BYTES)
        command = bytearray(_ADMIN_COMMAND.pack(*head, what, *[0] * 7))
        fcntl.ioctl(fd, _NVME_IOCTL_ADMIN_CMD, command)
    finally:
        os.close(fd)
    return identity.raw


def _namespace_id(fd: int) -> int:
    import fcntl

    return fcntl.ioctl(fd, _NVME_IOCTL_ID)
