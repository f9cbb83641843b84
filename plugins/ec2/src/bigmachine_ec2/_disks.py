"""A machine's disks on EC2: which block devices are its EBS volumes, and which its local disks."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import glob
import os
import re
import struct
from collections.abc import Sequence


def find_local_disks() -> list[str]:
    """Return the machine's local NVMe disks."""
    return [device for device, identity in _nvme_disks().items() if is_local(identity)]


def find_volumes(names: Sequence[str]) -> dict[str, str]:
    """Return the block devices of those volumes that are attached under ``names``, by name."""
    nvme = _nvme_volumes()
    devices = {name: nvme.get(name) or _xen_volume(name) for name in names}
    return {name: device for name, device in devices.items() if device}


# -- names: NVMe on Nitro, else Xen ----------------------------------------------------

# NVM Express Base Specification 1.4: the command Identify Controller, figures 88 and 247; and
# nvme_admin_cmd of <linux/nvme_ioctl.h>. EBS gives the name that a volume was attached under in
# the vendor's part of what is returned, as AWS's ebsnvme-id reads it.
_IDENTIFY = 0x06
_OF_CONTROLLER = 1
_ADMIN_COMMAND = struct.Struct("<BBHIIIQQIIIIIIIIII")
_NVME_IOCTL_ADMIN_CMD = 0xC0484E41
_IDENTITY_BYTES = 4096
_MODEL, _VENDOR_NAME = slice(24, 64), slice(3072, 3104)
# "Map NVMe disks to volumes" and "SSD instance store volumes", in the guides of EBS and EC2.
_EBS_MODEL, _LOCAL_MODEL = b"Amazon Elastic Block Store", b"Amazon EC2 NVMe Instance Storage"


def _nvme_disks() -> dict[str, bytes]:
    """Return with what the NVMe disks identify themselves, by device, in order."""
    found: dict[str, bytes] = {}
    for device in sorted(glob.glob("/dev/nvme*n*"), key=lambda device: (len(device), device)):
        if re.fullmatch(r"/dev/nvme\d+n\d+", device):
            with contextlib.suppress(OSError):  # it is being attached, or does not support this
                found[device] = identify(device)
    return found


def _nvme_volumes() -> dict[str, str]:
    """Return the NVMe disks that are EBS volumes, by the names they were attached under."""
    names = {device: volume_name(identity) for device, identity in _nvme_disks().items()}
    return {name: device for device, name in names.items() if name}


def is_local(identity: bytes) -> bool:
    """Whether an NVMe disk is instance store. ``identity`` is what `identify` returns."""
    return identity[_MODEL].strip(b"\0 ") == _LOCAL_MODEL


def volume_name(identity: bytes) -> str | None:
    """Return the name that an EBS volume was attached under; None for any other NVMe disk.

    ``identity`` is what `identify` returns. A volume attached as ``xvdf`` is ``/dev/sdf`` here.
    """
    if identity[_MODEL].strip(b"\0 ") != _EBS_MODEL:
        return None
    name = identity[_VENDOR_NAME].strip(b"\0 ").decode("ascii", "replace")
    return re.sub(r"^(/dev/)?(sd|xvd)", "/dev/sd", name)


def identify(device: str) -> bytes:
    """Return the 4096 bytes with which an NVMe controller identifies itself. Raises `OSError`."""
    identity = ctypes.create_string_buffer(_IDENTITY_BYTES)
    # opcode, flags, command id, namespace, cdw2, cdw3, metadata, address, and so on
    head = (_IDENTIFY, 0, 0, 0, 0, 0, 0, ctypes.addressof(identity), 0, _IDENTITY_BYTES)
    command = bytearray(_ADMIN_COMMAND.pack(*head, _OF_CONTROLLER, *[0] * 7))
    fd = os.open(device, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _NVME_IOCTL_ADMIN_CMD, command)
    finally:
        os.close(fd)
    return identity.raw


def _xen_volume(name: str) -> str | None:
    """Return the device of a volume attached as ``/dev/sdf``, which Xen's driver calls xvdf."""
    for device in (name, name.replace("/dev/sd", "/dev/xvd")):
        if os.path.exists(device):
            return os.path.realpath(device)
    return None
