"""A machine's disks on EC2: which block devices are its EBS volumes, and which its local disks.

EBS gives the name that a volume was attached under in the vendor's part of what identifies the
controller, as AWS's ebsnvme-id reads it. On Xen, the devices are named after it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from bigmachine.cloud import NvmeDisk, nvme_disks

# "Map NVMe disks to volumes" and "SSD instance store volumes", in the guides of EBS and EC2.
_EBS_MODEL, _LOCAL_MODEL = "Amazon Elastic Block Store", "Amazon EC2 NVMe Instance Storage"
_VENDOR_NAME = slice(3072, 3104)


def find_local_disks() -> list[str]:
    """Return the machine's local NVMe disks."""
    return [disk.device for disk in nvme_disks() if disk.model == _LOCAL_MODEL]


def find_volumes(names: Sequence[str]) -> dict[str, str]:
    """Return the block devices of those volumes that are attached under ``names``, by name."""
    nvme = {volume_name(disk): disk.device for disk in nvme_disks()}
    devices = {name: nvme.get(name) or _xen_volume(name) for name in names}
    return {name: device for name, device in devices.items() if device}


def volume_name(disk: NvmeDisk) -> str | None:
    """Return the name that an EBS volume was attached under; None for any other NVMe disk.

    A volume attached as ``xvdf`` is ``/dev/sdf`` here.
    """
    if disk.model != _EBS_MODEL:
        return None
    name = disk.controller[_VENDOR_NAME].strip(b"\0 ").decode("ascii", "replace")
    return re.sub(r"^(/dev/)?(sd|xvd)", "/dev/sd", name)


def _xen_volume(name: str) -> str | None:
    """Return the device of a volume attached as ``/dev/sdf``, which Xen's driver calls xvdf."""
    for device in (name, name.replace("/dev/sd", "/dev/xvd")):
        if os.path.exists(device):
            return os.path.realpath(device)
    return None
