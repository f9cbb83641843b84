"""A machine's disks on Azure: which are its data disks, and which its temporary ones.

Disks are on SCSI or on NVMe controllers, as the size has them, and temporary disks are on either.
It is told from the kernel, as the udev rules of Azure/azure-vm-utils tell it
(80-azure-disk.rules, and its doc/disk-identification.md), since not every image has those.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bigmachine.cloud import NvmeDisk, nvme_disks

_BLOCK_DEVICES = "/sys/block"
_CLOUD_INIT = "/run/cloud-init/status.json"
_CLOUD_INIT_SECONDS, _POLL_SECONDS = 60.0, 0.5

# The ids of the virtual SCSI controllers. Those of the first generation of VMs have another one
# for the temporary disk.
_BOOT_CONTROLLER = "f8b3781a-1e82-4818-a1c3-63d806ec15bb"
_DATA_CONTROLLER = re.compile(r"f8b3781[bcd]-1e82-4818-a1c3-63d806ec15bb")
_TEMPORARY_CONTROLLER = "00000000-0001-"
_TEMPORARY_UNIT = 1

_REMOTE_MODEL, _LOCAL_MODEL = "MSFT NVMe Accelerator", "Microsoft NVMe Direct Disk"
_VENDOR = slice(384, None)
_LUN = re.compile(rb"type=data\b.*\blun=(\d+)")
_FIRST_DATA_NAMESPACE = 2


def find_volumes(names: Sequence[str]) -> Mapping[str, str]:
    """Return the block devices of those data disks that are attached, by logical unit number."""
    found = {**dict(_scsi_volumes()), **dict(_nvme_volumes())}
    return {name: found[name] for name in names if name in found}


def find_local_disks() -> list[str]:
    """Return the machine's temporary disks: the NVMe ones, or else the one on SCSI.

    Sizes that have both have a small one on SCSI, which is much slower.
    """
    nvme = [disk.device for disk in nvme_disks() if disk.model.startswith(_LOCAL_MODEL)]
    return nvme or [disk.device for disk in _scsi_disks() if disk.is_temporary]


def await_cloud_init(*, deadline: float) -> None:
    """Wait until cloud-init, if the image has it, has mounted what it mounts.

    A temporary disk on SCSI is mounted at /mnt (DataSourceAzure), and would hide what is mounted
    below that. It is not waited for beyond ``deadline``, by `time.monotonic`.
    """
    deadline = min(deadline, time.monotonic() + _CLOUD_INIT_SECONDS)
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        while time.monotonic() < deadline:
            if json.loads(Path(_CLOUD_INIT).read_text())["v1"]["init"]["finished"]:
                return
            time.sleep(_POLL_SECONDS)


class _ScsiDisk(NamedTuple):
    device: str
    controller: str  # its id
    unit: int

    @property
    def is_temporary(self) -> bool:
        if self.controller == _BOOT_CONTROLLER:
            return self.unit == _TEMPORARY_UNIT
        return self.controller.startswith(_TEMPORARY_CONTROLLER)


def _scsi_disks() -> Iterator[_ScsiDisk]:
    for block in sorted(Path(_BLOCK_DEVICES).glob("sd*"), key=lambda path: (len(path.name), path)):
        with contextlib.suppress(OSError, ValueError, LookupError):
            disk = (block / "device").resolve(strict=True)  # …/{controller}/host1/target…/1:0:0:2
            [id, *_] = [path for above in disk.parents if (path := above / "device_id").exists()]
            controller = id.read_text().strip().strip("{}").lower()
            yield _ScsiDisk(f"/dev/{block.name}", controller, int(disk.name.rpartition(":")[2]))


def _scsi_volumes() -> Iterator[tuple[str, str]]:
    for disk in _scsi_disks():
        if _DATA_CONTROLLER.fullmatch(disk.controller):
            yield str(disk.unit), disk.device


def _nvme_volumes() -> Iterator[tuple[str, str]]:
    for disk in nvme_disks():
        if disk.model.startswith(_REMOTE_MODEL):
            with contextlib.suppress(OSError):
                if (unit := _nvme_unit(disk)) is not None:
                    yield str(unit), disk.device


def _nvme_unit(disk: NvmeDisk) -> int | None:
    """Return the logical unit number of a remote disk; None if it is the OS disk.

    Newer hosts say it in the vendor's part of what identifies the namespace. On others, it
    follows from the namespace's number.
    """
    said = disk.namespace()[_VENDOR].partition(b"\0")[0]
    if said:
        match = _LUN.search(said)
        return int(match[1]) if match else None
    number = disk.namespace_id() - _FIRST_DATA_NAMESPACE
    return number if number >= 0 else None
